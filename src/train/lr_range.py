"""The learning-rate range test (Smith 2017): the rate rises exponentially from step to step until the loss explodes.

The loss falls while the rate is useful, and rises where it is too high. The suggested rate is the smaller of two: that
of the steepest descent, and a tenth of the rate with the lowest loss. A rate that is too low trains more slowly, and
one that is too high diverges.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from src.errors import UserError
from src.train.tracking import progress_bar
from src.train.trainer import Trainer, TrainJob

LOWEST, HIGHEST = 1e-6, 10.0  # learning rates
SMOOTHING = 0.9  # the loss is smoothed over about ten steps
EXPLODED = 4.0  # times the lowest loss
SETTLED = 10  # steps until the smoothed loss means something
LEAST_FALL = 0.98  # of the loss at the beginning: above it there is nothing to suggest
STEEPEST, TENTH = "the loss falls steepest there", "a tenth of that with the lowest loss"


@dataclass(frozen=True)
class RangeTest:
    """The rates of the steps that were done, and the mean loss of each batch, float64 (s,) each.

    exploded: whether the loss, and not the last rate, ended the test.
    """

    lrs: np.ndarray
    losses: np.ndarray
    exploded: bool

    @property
    def smoothed(self) -> np.ndarray:
        """The moving average of the losses."""
        return np.array([*map(MovingAverage(), self.losses)])

    @property
    def lowest(self) -> int:
        """The step with the lowest smoothed loss."""
        return SETTLED + int(self.smoothed[SETTLED:].argmin()) if len(self.losses) > SETTLED else 0

    @property
    def steepest(self) -> int:
        """The step where the smoothed loss falls most by the logarithm of the rate, up to the lowest one."""
        part = self.smoothed[SETTLED : self.lowest + 1]
        return SETTLED + int(np.gradient(part).argmin()) if len(part) > 1 else self.lowest

    def suggestion(self) -> tuple[float, str] | None:
        """A learning rate and why it is this one; None where no rate lets the loss fall."""
        smoothed, lowest = self.smoothed, self.lowest
        if lowest <= SETTLED or smoothed[lowest] > LEAST_FALL * self.losses[:SETTLED].mean():
            return None
        found = {STEEPEST: float(self.lrs[self.steepest]), TENTH: float(self.lrs[lowest]) / 10}
        reason = min(found, key=found.get)
        return found[reason], reason


def range_test(job: TrainJob, steps: int) -> RangeTest:
    """Does the test with a new network of the job, with its augmentation, mixing, precision and optimizer.

    The whole network is trained, on images of the stored size. Raises UserError where it does not fit into memory.
    """
    trainer = Trainer(job)
    trainer.net.train()
    scales = [group["lr"] / trainer.schedule.lr for group in trainer.optimizer.param_groups]
    batches = iter(progress_bar(endless_batches(trainer), steps, f"{job.member.name} learning rates", 0))

    def step(lr: float) -> float:
        for group, scale in zip(trainer.optimizer.param_groups, scales, strict=True):
            group["lr"] = lr * scale
        return trainer.step(*next(batches))[0].item()

    return sweep(step, np.geomspace(LOWEST, HIGHEST, steps))


def sweep(step: Callable[[float], float], lrs: np.ndarray) -> RangeTest:
    """Calls `step`, which does a step with a rate and returns its loss, until the smoothed loss explodes.

    Raises UserError where the first loss is not finite.
    """
    losses, mean, best = [], MovingAverage(), math.inf
    for lr in lrs:
        if not math.isfinite(loss := step(float(lr))):
            if not losses:
                raise UserError(
                    f"the loss of the first step is {loss}, at the learning rate {lr:g}: no rate can be found"
                )
            return RangeTest(lrs[: len(losses)], np.array(losses), True)
        losses.append(loss)
        smoothed = mean(loss)
        best = min(best, smoothed) if len(losses) > SETTLED else best
        if smoothed > EXPLODED * best:
            return RangeTest(lrs[: len(losses)], np.array(losses), True)
    return RangeTest(lrs, np.array(losses), False)


class MovingAverage:
    """The exponential moving average of what it is called with, without a bias to the start (Kingma & Ba 2015)."""

    def __init__(self):
        self.sum, self.weight = 0.0, 0.0

    def __call__(self, value: float) -> float:
        self.sum = SMOOTHING * self.sum + (1 - SMOOTHING) * value
        self.weight = SMOOTHING * self.weight + (1 - SMOOTHING)
        return self.sum / self.weight


def endless_batches(trainer: Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of the first epoch again and again, each time in another order."""
    while True:
        trainer.epoch_state = trainer.new_epoch()
        yield from trainer.batches(trainer.epoch_state)
