"""What watches over a member's training in a run: checkpoints, the deadline, and a signal to stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from src.train.checkpoint import Keeper
from src.train.deadline import Allowance
from src.train.fit import Course, TimeUp, Watch
from src.train.stop import Stop, Stopped
from src.train.trainer import Trainer

EVERY = 120.0  # seconds between two checkpoints within an epoch


@dataclass
class Guard(Watch):
    """Brings a training back to its checkpoint, keeps new ones, shortens the schedule to what fits, stops when asked.

    found: what the keeper found of an earlier start. epochs: the most that the plan allots in all, not from there on:
    run.json, which the plan counts by, can be an epoch ahead of the checkpoint. Once begun, those of the schedule as it
    stands. record: takes history and schedule's epochs after each epoch. say: takes a line for people. pieces: into how
    many its batches must be cut, as far as is known.
    """

    keeper: Keeper
    allowance: Allowance
    stop: Stop
    found: tuple[dict, Course] | None
    epochs: int
    record: Callable[[list[dict], int], None]
    say: Callable[[str], None]
    pieces: int = 1
    every: float = EVERY
    kept: float = field(default_factory=time.monotonic)

    def begin(self, trainer: Trainer, course: Course) -> bool:
        """Goes on from the newest checkpoint, where there is one, and shortens the schedule to what is allotted.

        False where the checkpoint does not fit the trainer, which is half loaded then; it is not tried again.
        """
        found, self.found = self.found, None
        if found:
            state, earlier = found
            try:
                trainer.load(state)
            except (RuntimeError, KeyError, ValueError, TypeError) as error:
                self.say(f"{trainer.member.name}: its checkpoint does not fit ({error}); it begins anew")
                return False
            vars(course).update(vars(earlier))
            half = f", step {trainer.half.step} of the next" if trainer.half else ""
            self.say(f"{trainer.member.name}: goes on after epoch {len(course.history)}{half}")
        trainer.pieces = max(trainer.pieces, self.pieces)
        self.shorten(trainer, self.epochs)
        self.epochs = trainer.schedule.epochs
        return True

    def between(self, trainer: Trainer, course: Course) -> None:
        """Leaves a checkpoint every two minutes, and before it raises Stopped or TimeUp."""
        if self.stop.number:
            self.keeper.save(trainer.state(), course, wait=True)
            raise Stopped(self.stop.number)
        if self.allowance.over(bool(course.best)):
            self.say(f"{trainer.member.name}: the time is up within epoch {len(course.history) + 1}")
            raise TimeUp
        if time.monotonic() - self.kept > self.every:
            self.keep(trainer.state(), course)

    def after(self, trainer: Trainer, course: Course) -> None:
        """Records the history, and shortens the schedule to the epochs that still fit, by the mean of those before."""
        done = len(course.history)
        seconds = sum(row["seconds"] for row in course.history) / done
        self.shorten(trainer, done + self.allowance.epochs(seconds))
        self.record(course.history, trainer.schedule.epochs)

    def shorten(self, trainer: Trainer, epochs: float) -> None:
        """Lets the schedule end after so many epochs, if it does not sooner, and says so."""
        if epochs < trainer.schedule.epochs:
            self.say(f"{trainer.member.name}: {epochs} epochs instead of {trainer.schedule.epochs}, to end in time")
            trainer.schedule.epochs = self.epochs = int(epochs)

    def keep(self, state: dict, course: Course) -> None:
        """Writes a checkpoint in the background."""
        self.keeper.save(state, course)
        self.kept = time.monotonic()
