"""The plan of a run: what each member will cost, from a short measured warm-up, against the budget."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from src.config import Member
from src.data.augment import augment
from src.data.batches import LabelledImages, steps, train_batches
from src.train.deadline import Cost
from src.train.precision import Precision
from src.train.predict import VIEWS, probabilities
from src.train.trainer import Trainer, training_side

ENOUGH = 2.0  # seconds of warm-up, after at least two steps
MOST = 10


def measure(
    member: Member,
    train: LabelledImages,
    valid: LabelledImages,
    tests: int,
    precision: Precision,
    start: Path | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Cost:
    """Trains a few steps on the rows themselves, and throws the network away.

    The epoch is the mean one, where images grow from epoch to epoch. Predictions are of the validation rows with one
    view after each epoch, and of those and `tests` more with all views at the end.
    """
    trainer = Trainer(member, train, valid, precision, 0, start)
    sides = [training_side(member, number + 1, member.epochs) for number in range(member.epochs)]
    step = sum(step_seconds(trainer, side, clock) * sides.count(side) for side in set(sides)) / len(sides)
    some = valid.images[:256]
    probabilities(trainer.evaluated, some[:8], "none", precision)
    begun = clock()
    probabilities(trainer.evaluated, some, "none", precision).sum().item()
    image = (clock() - begun) / len(some)
    views = len(VIEWS[member.tta])
    epoch = step * steps(len(train.labels), member.batch_size) + image * len(valid.labels)
    return Cost(epoch, image * views * (len(valid.labels) + tests), trainer.pieces)


def step_seconds(trainer: Trainer, side: int | None, clock: Callable[[], float]) -> float:
    """Seconds of a step with images of this side; the first one, which allocates and chooses, does not count."""
    order, member = trainer.new_half().order, trainer.member
    transform = partial(augment, settings=member.augment, generator=trainer.generator, image_size=side)
    begun, marks = clock(), []
    trainer.net.train()
    for x, y in train_batches(trainer.train, order, member.batch_size, transform):
        trainer.step(x, y)[0].item()  # waits for the device
        marks.append(clock())
        if len(marks) == MOST or (len(marks) > 2 and clock() - begun > ENOUGH):
            break
    return (marks[-1] - marks[0]) / (len(marks) - 1) if len(marks) > 1 else marks[0] - begun


def table(members: list[Member], costs: list[Cost], epochs: list[int], left: float, device: str) -> list[str]:
    """The plan as lines for people: seconds of each member, and the sum against what is left of the budget."""
    width = max((len(member.name) for member in members), default=0)
    lines = [f"plan, from a short warm-up on {device}:"]
    for member, cost, n in zip(members, costs, epochs, strict=True):
        spent = f"{n:4d} epochs of {cost.epoch:.4g} s, {cost.predict:.3g} s to predict: {duration(cost.total(n))}"
        short = f" (shortened, of {member.epochs})" if n < member.epochs else ""
        lines.append(f"  {member.name:{width}} {spent + short if n else '   0 epochs: left out'}")
    total = sum(cost.total(n) for cost, n in zip(costs, epochs, strict=True) if n)
    return [*lines, f"  at most {duration(total)} in all; {budget_left(left)}"]


def budget_left(left: float) -> str:
    """What is left of the budget, for people."""
    return "no budget" if left == float("inf") else f"{duration(left)} are left of the budget"


def duration(seconds: float) -> str:
    """Seconds for people: "45 s", "12 min", "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
