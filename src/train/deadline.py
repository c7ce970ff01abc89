"""The kit's own deadline: how much time is left, how it is shared among the members, and what then still fits."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LEAST_SHARE = 1 / 3  # of its epochs: a member that would get less is left out for the others
MARGIN = 1.05  # the next epoch may take longer than the mean of those before


def process_started() -> float:
    """When this process was started, in seconds since 1970: imports and reading count too."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
        started = time.time() - up + ticks / os.sysconf("SC_CLK_TCK")
        if started <= time.time():  # a container can have an uptime of its own
            return started
    except (OSError, ValueError, IndexError):  # not Linux
        pass
    return time.time() - time.process_time()


@dataclass(frozen=True)
class Deadline:
    """The end of a budget: `hours` from `started` (seconds since 1970) on; None is no end."""

    hours: float | None
    started: float
    clock: Callable[[], float] = time.time

    def left(self) -> float:
        """Seconds until the end; infinite where there is none."""
        return math.inf if self.hours is None else self.started + 3600 * self.hours - self.clock()


@dataclass(frozen=True)
class Cost:
    """What a member costs, in seconds: an epoch with its evaluation, and the prediction after the last.

    pieces: into how many its batches had to be cut, to fit into memory.
    """

    epoch: float
    predict: float
    pieces: int = 1

    def total(self, epochs: int) -> float:
        """Seconds of a training of so many epochs, with its prediction."""
        return epochs * self.epoch + self.predict


def allot(costs: list[Cost], epochs: list[int], left: float) -> list[int]:
    """The epochs for each member that fit into `left` seconds; 0 for a member that is left out.

    Members stand in the order of their worth. All are shortened by the same share; where that is less than a third of
    their epochs, or no epoch, the last ones are left out until it is not. The first one is shortened as far as need be.
    """
    for keep in range(len(costs), 0, -1):
        predict = sum(cost.predict for cost in costs[:keep])
        train = sum(n * cost.epoch for n, cost in zip(epochs[:keep], costs[:keep], strict=True))
        share = min(1.0, max(0.0, left - predict) / (MARGIN * train)) if train else 1.0
        if math.isinf(left):
            share = 1.0
        allotted = [int(n * share + 1e-9) for n in epochs[:keep]]
        if keep == 1:
            allotted = [max(allotted[0], min(epochs[0], int((left - predict) >= costs[0].epoch)))]
        elif share < LEAST_SHARE or any(n < min(1, most) for n, most in zip(allotted, epochs, strict=False)):
            continue
        return allotted + [0] * (len(costs) - keep)
    return []


@dataclass(frozen=True)
class Allowance:
    """The time for one member's epochs: until `reserve` seconds before the deadline.

    own: the part of the reserve without the members that come after it. Their time is taken where the member has no
    epoch yet: one that has nothing to show would be worth less than they.
    """

    deadline: Deadline
    reserve: float
    own: float

    def epochs(self, seconds: float) -> float:
        """How many more epochs of so many seconds fit."""
        left = self.deadline.left() - self.reserve
        return math.inf if math.isinf(left) else max(0, int(left / (MARGIN * seconds)))

    def over(self, has_an_epoch: bool) -> bool:
        """Whether nothing fits any more."""
        return self.deadline.left() <= (self.reserve if has_an_epoch else self.own)
