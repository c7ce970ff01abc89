"""One member's training: epoch after epoch until the schedule ends, patience does, or time.

It keeps the best epoch's weights, goes back and slows down where the loss runs away, and can be stopped and gone on
with between any two steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from src.config import Member
from src.data.batches import LabelledImages
from src.dataset import NUM_CLASSES
from src.errors import UserError
from src.train.precision import Precision
from src.train.trainer import Trainer, on_host

MOST_STRIKES = 3
RUNAWAY = 2 * math.log(NUM_CLASSES)  # twice the loss of a uniform guess


class Diverged(UserError):
    """A training whose loss ran away each time, however slow."""


@dataclass(frozen=True)
class Fitted:
    """A trained network with its best epoch's weights, and how it came to be.

    seconds and images_per_second are of the training alone, without evaluation. pieces: into how many a batch was cut
    to fit into memory. strikes: how often the training ran away and went on with half the learning rate. planned: the
    epochs of its schedule, which a deadline may have shortened.
    """

    net: nn.Module
    history: list[dict]
    best_epoch: int
    seconds: float
    images_per_second: float
    pieces: int = 1
    strikes: int = 0
    planned: int = 0


@dataclass
class Course:
    """What a training has behind it. weights: the best epoch's, on the host. good: the state to go back to after a
    strike, which is that of the last epoch's end.
    """

    history: list[dict] = field(default_factory=list)
    best: int = 0
    strikes: int = 0
    weights: dict = field(default_factory=dict)
    good: dict = field(default_factory=dict)

    def accuracy(self) -> float:
        """The best epoch's validation accuracy; -1 before the first."""
        return self.history[self.best - 1]["valid_accuracy"] if self.best else -1.0

    def ended(self, patience: int) -> bool:
        """Whether nothing is left to gain, or patience is at its end."""
        return self.accuracy() == 1 or bool(patience and len(self.history) - self.best >= patience)


class Watch:
    """What watches over a training; this one lets it run. `guard.Guard` is the one that does something."""

    def begin(self, trainer: Trainer, course: Course) -> bool:
        """Before the first epoch: may bring trainer and course to where an earlier start left them.

        False where it could not and they are of no use any more; then it is asked again with new ones.
        """
        return True

    def between(self, trainer: Trainer, course: Course) -> None:
        """After each step and each batch of an evaluation; may raise to stop."""

    def after(self, trainer: Trainer, course: Course) -> None:
        """After each epoch that went well; may shorten the schedule."""

    def keep(self, state: dict, course: Course) -> None:
        """The trainer's state at the beginning and after each epoch: where to come back to."""


class TimeUp(Exception):
    """Raised between two steps when the time is up: the training ends with the best epoch that it has."""


def fit(
    member: Member,
    train: LabelledImages,
    valid: LabelledImages,
    precision: Precision,
    seed: int,
    report: Callable[[dict, bool], None] = lambda row, best: None,
    start: Path | None = None,
    watch: Watch | None = None,
    say: Callable[[str], None] = print,
) -> Fitted:
    """Trains the member and returns it with the weights of its best epoch, by validation accuracy.

    train, valid: on one device. start: a file of pretrained weights. `report(row, best)` is called after each epoch.
    The same seed on the same CPU with the same number of threads gives bitwise the same network. Training stops early
    after `member.early_stopping_patience` epochs without a better one, and at once when no validation error is left.
    Where the loss is not finite any more, or runs away, it goes on from the epoch before with half the learning rate,
    three times; then it raises Diverged. Raises TimeUp where the watch's time is up before the first epoch's end.
    """
    watch = watch or Watch()
    while True:
        trainer, course = Trainer(member, train, valid, precision, seed, start), Course()
        if watch.begin(trainer, course):
            break
    if not course.good:
        course.good = trainer.state()
        watch.keep(course.good, course)
    while len(course.history) < trainer.schedule.epochs and not course.ended(member.early_stopping_patience):
        try:
            row = trainer.epoch(len(course.history) + 1, lambda: watch.between(trainer, course))
        except TimeUp:
            break
        if runs_away(row):
            strike(trainer, course, row, say)
        else:
            report(row, take_in(course, row, trainer))
            watch.after(trainer, course)
        course.good = trainer.state()
        watch.keep(course.good, course)
    if not course.best:
        raise TimeUp(f"{member.name}: the time was up before its first epoch ended")
    return fitted(trainer, course)


def take_in(course: Course, row: dict, trainer: Trainer) -> bool:
    """Adds an epoch; whether it is the best so far, whose weights are kept."""
    better = row["valid_accuracy"] > course.accuracy()
    course.history.append(row)
    if better:
        course.best, course.weights = len(course.history), on_host(trainer.evaluated.state_dict())
    return better


def fitted(trainer: Trainer, course: Course) -> Fitted:
    """The end of a training: the best epoch's weights back in the network."""
    trainer.evaluated.load_state_dict(course.weights)
    seconds = sum(row["train_seconds"] for row in course.history)
    speed = len(course.history) * len(trainer.train.labels) / seconds
    how = (trainer.pieces, course.strikes, trainer.schedule.epochs)
    return Fitted(trainer.evaluated, course.history, course.best, seconds, speed, *how)


def runs_away(row: dict) -> bool:
    """Whether an epoch's losses are no numbers any more, or the training loss is beyond all that learning explains."""
    finite = all(math.isfinite(row[key]) for key in ("train_loss", "valid_loss"))
    return not finite or row["train_loss"] > RUNAWAY


def strike(trainer: Trainer, course: Course, row: dict, say: Callable[[str], None]) -> None:
    """Back to the last good epoch with half the learning rate; raises Diverged when that has not helped three times."""
    name, number = trainer.member.name, row["epoch"]
    course.strikes += 1
    losses = f"training loss {row['train_loss']:.3g}, validation loss {row['valid_loss']:.3g}"
    if course.strikes > MOST_STRIKES:
        raise Diverged(
            f"{name}: diverges in epoch {number} ({losses}) also at an eighth of its learning rate; "
            f"lower it (--set {name}.lr={trainer.member.lr / 16:g})"
        )
    trainer.load(course.good)
    trainer.schedule.slow_down(0.5)
    say(f"warning: {name} diverges in epoch {number} ({losses}): back to epoch {number - 1}, half the learning rate")
