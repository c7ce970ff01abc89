"""Estimates the seconds of each member from a short measured warm-up, and prints them against the budget."""

import time
from collections.abc import Callable
from statistics import fmean

from src.config import Member
from src.data.batches import steps
from src.train.budget import TimeEstimate
from src.train.predict import probabilities
from src.train.sam import passes
from src.train.trainer import Trainer, TrainJob, training_image_size
from src.train.tta import TTA_VIEWS

WARMUP_SECONDS, MIN_STEPS, MAX_STEPS = 2.0, 3, 10


def estimate_member(job: TrainJob, test_rows: int, clock: Callable[[], float] = time.perf_counter) -> TimeEstimate:
    """Trains a few steps on the job's own rows and discards the network. UserError where it does not fit into memory.

    The epoch is the mean one if images grow from epoch to epoch, or the last epochs take two passes. The prediction is
    of the validation rows and `test_rows` more.
    """
    trainer, member, valid = Trainer(job), job.member, job.valid
    numbers = range(1, member.epochs + 1)
    sizes = [training_image_size(member, number, member.epochs) for number in numbers]
    by_size = {side: step_seconds(trainer, side, clock) for side in dict.fromkeys(sizes)}
    step = fmean(by_size[side] * passes(member, n, member.epochs) for n, side in zip(numbers, sizes, strict=True))
    images = (valid if len(valid.labels) else job.train).images[:256]
    probabilities(trainer.eval_model, images[:8], "none", job.precision)
    started = clock()
    probabilities(trainer.eval_model, images, "none", job.precision).sum().item()
    image = (clock() - started) / len(images)
    epoch = step * steps(len(job.train.labels), member.batch_size) + image * len(valid.labels)
    predict = image * len(TTA_VIEWS[member.tta]) * (len(valid.labels) + test_rows)
    return TimeEstimate(epoch, predict, trainer.accumulation_steps)


def step_seconds(trainer: Trainer, image_size: int | None, clock: Callable[[], float]) -> float:
    """Seconds of a step with images of this size. The first step allocates memory and does not count."""
    batches = trainer.batches(trainer.new_epoch(), image_size)
    started, ends = clock(), []
    trainer.net.train()
    for x, y in batches:
        trainer.step(x, y)[0].item()  # waits for the device
        ends.append(clock())
        if len(ends) == MAX_STEPS or (len(ends) >= MIN_STEPS and clock() - started > WARMUP_SECONDS):
            break
    return (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else ends[0] - started


def estimate_table(
    members: list[Member], estimates: list[TimeEstimate], epochs: list[int], left: float, device: str
) -> list[str]:
    """The estimates as lines for people: the seconds of each member, and their sum against the budget that is left."""
    width = max((len(member.name) for member in members), default=0)
    lines = [f"plan, from a short warm-up on {device}:"]
    for member, estimate, n in zip(members, estimates, epochs, strict=True):
        total = format_duration(estimate.total(n))
        spent = f"{n:4d} epoch{'s' * (n != 1)} of {estimate.epoch:.4g} s, {estimate.predict:.3g} s to predict: {total}"
        short = f" (of {member.epochs})" if n < member.epochs else ""
        lines.append(f"  {member.name:{width}} {spent + short if n else '   0 epochs: left out'}")
    total = sum(estimate.total(n) for estimate, n in zip(estimates, epochs, strict=True) if n)
    budget = "no budget" if left == float("inf") else f"{format_duration(max(0, left))} are left of the budget"
    return [*lines, f"  at most {format_duration(total)} in all; {budget}"]


def format_duration(seconds: float) -> str:
    """Seconds for people: "45 s", "12 min", "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
