"""The time budget of a run: how much is left, and how many epochs of each member fit into it."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIN_SHARE = 1 / 3  # a member that would get a smaller part of its epochs is skipped
MARGIN = 1.05  # the next epoch may take longer than the mean of those before


def process_started() -> float:
    """When this process started, in seconds since 1970. The budget begins there, so imports count too."""
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
    """`max_hours` after `started`, in seconds since 1970; max_hours=None means no deadline."""

    max_hours: float | None
    started: float
    clock: Callable[[], float] = time.time

    def left(self) -> float:
        """Seconds until the end; infinite where there is none."""
        return math.inf if self.max_hours is None else self.started + 3600 * self.max_hours - self.clock()


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds that a member takes."""

    epoch: float  # with its evaluation
    predict: float  # after the last epoch
    accumulation_steps: int = 1  # the parts that each batch is split into, to fit into memory

    def total(self, epochs: int) -> float:
        """Seconds of a training of so many epochs, with its prediction."""
        return epochs * self.epoch + self.predict


def allocate_epochs(estimates: list[TimeEstimate], epochs: list[int], left: float) -> list[int]:
    """The epochs of each member that fit into `left` seconds; 0 for a member that is skipped.

    The most valuable member comes first. All members are shortened by the same share. The last ones are skipped while
    that share is less than a third of their epochs, or less than one epoch; the first one gets what fits.
    """
    for kept in range(len(estimates), 0, -1):
        predict = sum(estimate.predict for estimate in estimates[:kept])
        train = sum(n * estimate.epoch for n, estimate in zip(epochs[:kept], estimates[:kept], strict=True))
        share = min(1.0, max(0.0, left - predict) / (MARGIN * train)) if train else 1.0
        allocated = [int(n * share + 1e-9) for n in epochs[:kept]]
        if kept == 1:
            allocated = [max(allocated[0], min(epochs[0], int((left - predict) >= estimates[0].epoch)))]
        elif share < MIN_SHARE or any(n < min(1, most) for n, most in zip(allocated, epochs, strict=False)):
            continue
        return allocated + [0] * (len(estimates) - kept)
    return []


@dataclass(frozen=True)
class MemberBudget:
    """The time for one member's epochs: until `reserve` seconds before the deadline.

    min_reserve: the part of the reserve that is not for later members. A member with no finished epoch may use time
    reserved for later members.
    """

    deadline: Deadline
    reserve: float
    min_reserve: float

    def epochs_left(self, seconds: float) -> float:
        """The number of further epochs of so many seconds that fit; infinite without a deadline."""
        left = self.deadline.left() - self.reserve
        return math.inf if math.isinf(left) else max(0, int(left / (MARGIN * seconds)))

    def is_over(self, has_epoch: bool) -> bool:
        """Whether the time is up, for a member that has a finished epoch or has none."""
        return self.deadline.left() <= (self.reserve if has_epoch else self.min_reserve)
