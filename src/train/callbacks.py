"""A run's callbacks for one training: checkpoints, the time budget, signals, and the log."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from src.terminal import WIDTH
from src.train.budget import MemberBudget
from src.train.checkpoint import CheckpointManager
from src.train.epoch_cost import expected_seconds
from src.train.fit import Callback, TimeUp, TrainState
from src.train.signals import Stopped, StopSignals
from src.train.step_metrics import StepMetrics
from src.train.tracking import epoch_line
from src.train.trainer import Trainer

CHECKPOINT_SECONDS = 120.0  # between two checkpoints within an epoch


@dataclass
class TrainingCallbacks(Callback):
    """Resumes from the newest checkpoint, writes new ones, shortens the schedule to the budget, stops on a signal."""

    checkpoints: CheckpointManager
    budget: MemberBudget
    signals: StopSignals
    max_epochs: int  # in all, counted from epoch 0; run.json may be one epoch ahead of the checkpoint
    on_progress: Callable[[list[dict], int], None]  # receives the history and the scheduled epochs after each epoch
    log: Callable[[str], None]  # receives lines for people
    accumulation_steps: int = 1  # at least so many
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    columns: int = WIDTH  # of a line in the log
    step_metrics: StepMetrics | None = None  # None: no tracker asks for metrics of steps
    on_epoch: Callable[[nn.Module, int], None] = lambda net, epoch: None  # receives the evaluated network, which stays
    last_saved: float = field(default_factory=time.monotonic)
    is_resumed: bool = False

    def on_train_begin(self, trainer: Trainer) -> TrainState | None:
        """Restores the newest checkpoint, and shortens the schedule to `max_epochs`.

        None if the checkpoint does not fit the trainer, which is then partly restored; the next call ignores it.
        """
        found = None if self.is_resumed else self.checkpoints.load()
        self.is_resumed, state, name = True, TrainState(), trainer.member.name
        if found:
            snapshot, state = found
            try:
                trainer.load_state_dict(snapshot)
            except (RuntimeError, KeyError, ValueError, TypeError) as error:
                self.log(f"{name}: its checkpoint does not fit ({error}); it starts again")
                return None
            step = f", step {trainer.epoch_state.step} of the next" if trainer.epoch_state else ""
            self.log(f"{name}: continues after epoch {state.epochs}{step}")
        trainer.accumulation_steps = max(trainer.accumulation_steps, self.accumulation_steps)
        self.shorten_schedule(trainer, self.max_epochs)
        return state

    def on_batch_end(self, trainer: Trainer, state: TrainState) -> None:
        """Writes a checkpoint every `checkpoint_seconds`; raises Stopped, after a checkpoint, or TimeUp."""
        if self.step_metrics:
            self.step_metrics.observe(trainer)
        if self.signals.received:
            self.checkpoints.save(trainer.state_dict(), state, wait=True)
            raise Stopped(self.signals.received)
        if self.budget.is_over(has_epoch=bool(state.best_epoch)):
            self.log(f"{trainer.member.name}: the time is up within epoch {state.epochs + 1}")
            raise TimeUp
        if time.monotonic() - self.last_saved > self.checkpoint_seconds:
            self.save(trainer.state_dict(), state)

    def on_epoch_end(self, trainer: Trainer, state: TrainState) -> None:
        """Logs the epoch, and shortens the schedule to the epochs that still fit, by the times of those before."""
        done, epochs = state.epochs, trainer.schedule.epochs
        self.log(epoch_line(state.history[-1], epochs, state.best_epoch == done, self.columns))
        seconds = expected_seconds(trainer.member, state.history, epochs)
        self.shorten_schedule(trainer, done + self.budget.epochs_left(seconds))
        self.on_progress(state.history, trainer.schedule.epochs)
        self.on_epoch(trainer.eval_model, done)

    def shorten_schedule(self, trainer: Trainer, epochs: float) -> None:
        """Ends the schedule after so many epochs, if it does not end sooner."""
        if epochs < trainer.schedule.epochs:
            self.log(f"{trainer.member.name}: {epochs} epochs instead of {trainer.schedule.epochs}, to end in time")
            trainer.schedule.epochs = int(epochs)

    def save(self, snapshot: dict, state: TrainState) -> None:
        """Writes a checkpoint in the background."""
        self.checkpoints.save(snapshot, state)
        self.last_saved = time.monotonic()
