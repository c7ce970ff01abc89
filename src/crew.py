"""The ranks of a run at work: which of them takes part, who trains which member, and what became of the others."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch.distributed import DistError, PrefixStore

from src import ranks
from src.config import Member
from src.errors import UserError
from src.ranks import Board, Place
from src.train import device as devices
from src.train.deadline import Cost
from src.train.workers import ALONE, Team, Together

ON_CPU, NONE_LEFT = -3, 10**6  # what a rank says that has taken no GPU
LOOK = 2.0  # seconds between two looks for ranks that have died
GRACE = 30.0  # seconds for the main thread to end by itself when one has
PREDICTS = 900.0  # seconds, as much, where it may still have work that it does alone


class Crew:
    """One process that does all the work. The others below do it with several, and answer the same questions."""

    size = 1  # ranks of the run; above 1 they share its folder
    first = True  # whether this rank does what is done once in a run
    keeps = True  # whether this rank leaves the files of the members that it trains
    team: Team = ALONE
    about = ""  # a line for people

    def say_begun(self, closing: float) -> None:
        """The first rank's word that the folder is the run's; closing: seconds that blending and writing take."""

    def take(self, count: int) -> Iterator[int]:
        """The numbers of the members that this rank trains, of `count`."""
        yield from range(count)

    def part(self, member: Member, rows: np.ndarray) -> tuple[Member, np.ndarray]:
        """What of a batch, and of the rows, a warm-up on this rank is to take: so much as its part in a training."""
        return member, rows

    def costs(self, members: list[Member], measure: Callable[[Member], Cost | str]) -> list[Cost | str | None]:
        """What each member costs; a reason where it cannot be trained, None where its rank died measuring it."""
        return [measure(member) for member in members]

    def busy(self) -> list[float]:
        """Seconds until each rank is free for another member, this one's, which are none, first."""
        return [0.0]

    def begins(self, member: str, seconds: float) -> None:
        """Says what this rank is at, and for how long."""

    def fate(self, member: str) -> str:
        """Why a member was never finished."""
        return "no rank was left to train it"

    def lost(self, error: RuntimeError) -> str:
        """Of an error in a training: which rank's death was its cause; empty where none was."""
        return ""

    def arrive(self) -> bool:
        """Whether this rank, at the end of its work, is the last: the one that ends the run."""
        return True


class Ranks(Crew):
    """One of several ranks, before they have agreed on anything, and one that stands aside."""

    def __init__(self, board: Board, place: Place):
        self.board, self.place, self.size, self.first = board, place, place.size, place.rank == 0

    def say_begun(self, closing: float) -> None:
        self.board.tell("begun", closing)

    def hear_begun(self, check: Callable[[], None]) -> float | None:
        """Waits for the first rank's `say_begun`; None where it could not begin. `check` may raise."""
        return self.board.hear("begun", 0, check)

    def take(self, count: int) -> Iterator[int]:
        yield from ()

    def costs(self, members: list[Member], measure: Callable[[Member], Cost | str]) -> list[Cost | str | None]:
        """Nothing: it may have no device to measure on."""
        return [None] * len(members)

    def fate(self, member: str) -> str:
        why = [f"{text} while it {self.at(rank)}" for rank, text in self.board.deaths().items()]
        of_it = [text for text in why if text.endswith(f" {member}")]
        return of_it[0] if of_it else "; ".join(["no rank was left to train it", *why])

    def at(self, rank: int) -> str:
        return self.board.told(f"at/{rank}") or "prepared"

    def arrive(self) -> bool:
        return self.board.arrive({})


class Sharing(Ranks):
    """Each rank takes the next member when it is free."""

    def __init__(self, board: Board, place: Place, workers: list[int]):
        super().__init__(board, place)
        self.workers = workers
        self.about = (
            f"{len(workers)} ranks share the members: each takes the next one when it is free; sampler, batch and "
            "learning rate are those of one rank"
        )

    def take(self, count: int) -> Iterator[int]:
        while (number := self.board.next("members")) < count:
            yield number

    def costs(self, members: list[Member], measure: Callable[[Member], Cost | str]) -> list[Cost | str | None]:
        """Each rank measures its share, and hears of the others'."""
        by = {member.name: self.workers[n % len(self.workers)] for n, member in enumerate(members)}
        for member in (member for member in members if by[member.name] == self.place.rank):
            self.board.tell(f"at/{self.place.rank}", f"measured {member.name}")
            found = measure(member)
            self.board.tell(f"cost/{member.name}", found if isinstance(found, str) else list(vars(found).values()))
        heard = [self.board.hear(f"cost/{name}", rank) for name, rank in by.items()]
        return [Cost(*found) if isinstance(found, list) else found for found in heard]

    def busy(self) -> list[float]:
        others = [rank for rank in self.workers if rank != self.place.rank and self.board.ended(rank) is None]
        until = [self.board.told(f"until/{rank}") or 0.0 for rank in others]
        return [0.0, *(max(0.0, moment - time.time()) for moment in until)]

    def begins(self, member: str, seconds: float) -> None:
        self.board.tell(f"at/{self.place.rank}", f"trained {member}")
        self.board.tell(f"until/{self.place.rank}", time.time() + seconds)


class Joined(Ranks):
    """All ranks train each member together."""

    def __init__(self, board: Board, place: Place, workers: list[int], device: torch.device):
        super().__init__(board, place)
        number = workers.index(place.rank)
        self.keeps = number == 0
        self.about = f"fewer members than ranks: each member is trained by all {len(workers)} ranks together"
        self.team = Together(PrefixStore("team", board.store), number, len(workers), device)
        self.through = threading.Event()
        threading.Thread(target=self.look_out, args=(Board(ranks.connect(), place),), daemon=True).start()

    def look_out(self, board: Board) -> None:
        """Ends this process where another rank has died and it waits for that one, and so cannot end by itself."""
        while not self.through.wait(LOOK) and not board.deaths():
            pass
        # The first rank may be predicting, which needs no other; with what it has, that member is whole.
        if not self.through.wait(PREDICTS if self.keeps else GRACE):
            os._exit(ranks.FOLLOWED)

    def arrive(self) -> bool:
        self.through.set()
        return super().arrive()

    def take(self, count: int) -> Iterator[int]:
        yield from range(count)

    def part(self, member: Member, rows: np.ndarray) -> tuple[Member, np.ndarray]:
        size = self.team.size
        if member.batch_size < 2 * size:
            raise UserError(
                f"{member.name}: a batch of {member.batch_size} gives not two images to each of {size} ranks"
            )
        return replace(member, batch_size=member.batch_size // size), rows[: max(2, len(rows) // size)]

    def costs(self, members: list[Member], measure: Callable[[Member], Cost | str]) -> list[Cost | str | None]:
        """The slowest rank's, of parts of the batches; a member that does not fit on one rank is trained on none."""
        costs = []
        for member in members:
            self.board.tell(f"at/{self.place.rank}", f"measured {member.name}")
            found = self.team.of_all(measure(member))
            costs.append(next((one for one in found if isinstance(one, str)), None) or slowest(found))
        return costs

    def begins(self, member: str, seconds: float) -> None:
        self.board.tell(f"at/{self.place.rank}", f"trained {member}")

    def lost(self, error: RuntimeError) -> str:
        """The connections to a rank that dies break at once; its watcher says so a little later."""
        connection = isinstance(error, DistError) or "gloo" in str(error)
        until = time.monotonic() + 2 * GRACE * connection
        while time.monotonic() < until:
            if deaths := self.board.deaths():
                return f"{'; '.join(deaths.values())}: this one cannot go on without it"
            time.sleep(ranks.POLL)
        return ""


def slowest(costs: list[Cost]) -> Cost:
    """What a training takes that waits for the slowest of its ranks in everything."""
    return Cost(*(max(values) for values in zip(*(vars(cost).values() for cost in costs), strict=True)))


def agree(crew: Crew, device: torch.device | None, describe: str, unfinished: int) -> tuple[Crew, dict[int, str]]:
    """How the ranks work from here on, and the devices of those that take part; all ranks call it.

    device: this rank's, or None where it has none and stands aside. unfinished: members that are still to be trained.
    Fewer of them than ranks are trained by all ranks together, one after the other; else each rank takes the next.
    """
    if not isinstance(crew, Ranks):
        return crew, {0: describe}
    board, place = crew.board, crew.place
    board.tell(f"device/{place.rank}", describe if device is not None else "")
    heard = {rank: board.hear(f"device/{rank}", rank) for rank in range(place.size)}
    at_work = {rank: text for rank, text in heard.items() if text}
    if device is None or not unfinished:
        return crew, at_work
    if len(at_work) == 1 or unfinished >= len(at_work):
        return Sharing(board, place, list(at_work)), at_work
    return Joined(board, place, list(at_work), device), at_work


def choose_device(crew: Crew, wish: str) -> tuple[torch.device | None, str]:
    """This rank's device with a line about it, as `device.choose` gives them; None where no GPU is left for it.

    Of the ranks of one machine each tries the GPUs after the one that the rank before it has taken, so that no GPU
    holds two, and none is tried in vain. Raises UserError where one device is named for several ranks.
    """
    if not isinstance(crew, Ranks) or wish == "cpu":
        return devices.choose(wish)
    if wish not in ("auto", "cuda"):
        raise UserError(f"--device {wish}: that is one device, and there are {crew.size} ranks; give auto, cuda or cpu")
    place, board = crew.place, crew.board
    taken = board.hear(f"gpu/{place.node}/{place.local_rank - 1}", place.rank - 1) if place.local_rank else -1
    if taken == ON_CPU:
        board.tell(f"gpu/{place.node}/{place.local_rank}", ON_CPU)
        return devices.choose("cpu")
    device, line = devices.choose(wish if wish == "cuda" and taken == -1 else "auto", (taken or 0) + 1)
    number = NONE_LEFT if device is None else ON_CPU if device.type == "cpu" else device.index or 0
    board.tell(f"gpu/{place.node}/{place.local_rank}", number)
    return device, line
