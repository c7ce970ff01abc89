"""What watches over a member's training in a run: checkpoints, the deadline, and a signal to stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from src.train.checkpoint import Keeper
from src.train.deadline import Allowance
from src.train.fit import Course, TimeUp, Watch
from src.train.stop import Stop
from src.train.trainer import Trainer

EVERY = 120.0  # seconds between two checkpoints within an epoch


@dataclass
class Guard(Watch):
    """Brings a training back to its checkpoint, keeps new ones, shortens the schedule to what fits, stops when asked.

    epochs: the most that the plan allots, then those of the schedule as it stands. record: takes the history after each
    epoch. say: takes a line for people.
    """

    keeper: Keeper
    allowance: Allowance
    stop: Stop
    epochs: int
    record: Callable[[list[dict]], None]
    say: Callable[[str], None]
    kept: float = field(default_factory=time.monotonic)

    def begin(self, trainer: Trainer, course: Course) -> None:
        """Goes on from the newest checkpoint, where there is one, and shortens the schedule to what is allotted."""
        if found := self.keeper.load():
            state, earlier = found
            trainer.load(state)
            vars(course).update(vars(earlier))
            half = f", step {trainer.half.step} of the next" if trainer.half else ""
            self.say(f"{trainer.member.name}: goes on after epoch {len(course.history)}{half}")
        self.shorten(trainer, self.epochs)
        self.epochs = trainer.schedule.epochs

    def between(self, trainer: Trainer, course: Course) -> None:
        """Leaves a checkpoint every two minutes, and before it raises Stopped or TimeUp."""
        if self.stop.number:
            self.keeper.save(trainer.state(), course, wait=True)
            self.stop.check()
        if self.allowance.over():
            self.say(f"{trainer.member.name}: the time is up within epoch {len(course.history) + 1}")
            raise TimeUp
        if time.monotonic() - self.kept > EVERY:
            self.keep(trainer.state(), course)

    def after(self, trainer: Trainer, course: Course) -> None:
        """Records the history, and shortens the schedule to the epochs that still fit, by the mean of those before."""
        self.record(course.history)
        done = len(course.history)
        seconds = sum(row["seconds"] for row in course.history) / done
        self.shorten(trainer, done + self.allowance.epochs(seconds))

    def shorten(self, trainer: Trainer, epochs: float) -> None:
        """Lets the schedule end after so many epochs, if it does not sooner, and says so."""
        if epochs < trainer.schedule.epochs:
            self.say(f"{trainer.member.name}: {epochs} epochs instead of {trainer.schedule.epochs}, to end in time")
            trainer.schedule.epochs = self.epochs = int(epochs)

    def keep(self, state: dict, course: Course) -> None:
        """Writes a checkpoint in the background."""
        self.keeper.save(state, course)
        self.kept = time.monotonic()
