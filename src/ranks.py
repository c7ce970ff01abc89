"""Which of how many processes this is, as torchrun says, and what the ranks of a run tell each other through its store.

Torch is imported by `connect` alone: the process that watches over a rank does without it while the rank trains.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from src.errors import UserError

NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
POLL = 0.1  # seconds between two looks into the store
CONNECT = 60.0  # seconds
FOLLOWED = 75  # exit code of a trainer that could not go on without another one that had died


@dataclass(frozen=True)
class Place:
    """A rank among `size`, and its place among the `local_size` on its machine `node`."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int = 0


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process' place; None where torchrun did not start it, or started it alone."""
    if not all(environment.get(name) for name in NEEDED) or int(environment["WORLD_SIZE"]) == 1:
        return None
    named = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Place(*(int(environment[name]) for name in named), int(environment.get("GROUP_RANK", 0)))


def connect(environment: Mapping[str, str] = os.environ):
    """A new connection to torchrun's store, under a prefix of this start alone; raises UserError where none answers."""
    from datetime import timedelta

    from torch.distributed import PrefixStore, TCPStore

    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    restarts = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=CONNECT))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"torchrun's store at {host}:{port} does not answer: {reason}") from None
    return PrefixStore(f"fer2013/{environment['TORCHELASTIC_RUN_ID']}/{restarts}", store)


class Board:
    """What the ranks of a run tell each other: names with values of JSON, and counters.

    A rank ends once: by itself with `arrive`, or its watcher does so for it. `ended/<rank>` then says how.
    """

    def __init__(self, store, place: Place):
        self.store, self.place = store, place

    def tell(self, name: str, value: object) -> None:
        """Puts up a value under a name, in place of an earlier one."""
        self.store.set(name, json.dumps(value))

    def told(self, name: str) -> object:
        """The value under a name; None where there is none yet."""
        return json.loads(self.store.get(name)) if self.store.check([name]) else None

    def next(self, name: str) -> int:
        """0, then 1, … : each number goes to one rank alone."""
        return self.store.add(name, 1) - 1

    def hear(self, name: str, by: int, check: Callable[[], None] = lambda: None) -> object:
        """Waits for a value that rank `by` will put up; None where that rank ends without. `check` may raise."""
        while True:
            ended = self.ended(by)  # asked first: what it has said, it said before it ended
            value = self.told(name)
            if value is not None or ended is not None:
                return value
            check()
            time.sleep(POLL)

    def arrive(self, how: dict) -> bool:
        """Says how this rank ended; whether it was the last one."""
        self.tell(f"ended/{self.place.rank}", how)
        last = self.next("arrived") == self.place.size - 1
        if last:
            self.tell("last", self.place.rank)
        return last

    def ended(self, rank: int) -> dict | None:
        """How a rank ended, as `arrive` took it; None while it has not."""
        return self.told(f"ended/{rank}")

    def deaths(self) -> dict[int, str]:
        """Why each rank that did not end in order ended, with what it was at."""
        ends = {rank: self.ended(rank) or {} for rank in range(self.place.size)}
        return {rank: end["why"] for rank, end in ends.items() if end.get("why")}
