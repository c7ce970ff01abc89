"""torchrun's store, within one process, for tests of what ranks tell each other."""

from src.ranks import Board, Place


class Store:
    """As much of torch's stores as `Board` asks for."""

    def __init__(self):
        self.values = {}

    def set(self, name: str, value: str) -> None:
        self.values[name] = value.encode()

    def get(self, name: str) -> bytes:
        return self.values[name]

    def check(self, names: list[str]) -> bool:
        return all(name in self.values for name in names)

    def add(self, name: str, number: int) -> int:
        self.values[name] = self.values.get(name, 0) + number
        return self.values[name]


def boards(size: int) -> list[Board]:
    """The boards of so many ranks on one machine."""
    store = Store()
    return [Board(store, Place(rank, size, rank, size)) for rank in range(size)]
