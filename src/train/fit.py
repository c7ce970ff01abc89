"""One member's training: epoch after epoch, until the schedule ends, or early stopping, or the time budget.

It keeps the best epoch's weights. If the training diverges, it rolls back one epoch and halves the learning rate.
"""

import math
from dataclasses import dataclass, field

from torch import nn

from src.dataset import NUM_CLASSES
from src.errors import UserError
from src.train.trainer import Trainer, TrainJob, copy_to_cpu

MAX_ROLLBACKS = 3
DIVERGED_LOSS = 2 * math.log(NUM_CLASSES)  # twice the loss of a uniform guess
FIRST_EPOCH_LOSS = 10 * math.log(NUM_CLASSES)  # the random last layer of timm's EfficientNets begins at a loss of 7


class Diverged(UserError):
    """A training that still diverged after the last rollback."""


class TimeUp(Exception):
    """The time is up: a training ends with its best epoch; a member without a finished epoch is left out."""


@dataclass(frozen=True)
class FitResult:
    """A trained network with its best epoch's weights; without validation rows the last epoch is the best."""

    net: nn.Module
    history: list[dict]
    best_epoch: int
    seconds: float  # of training, without evaluation
    images_per_second: float  # of training too
    accumulation_steps: int  # the parts that each batch was split into, to fit into memory
    rollbacks: int
    scheduled_epochs: int  # a time budget may have shortened the schedule


@dataclass
class TrainState:
    """The finished epochs of a training."""

    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0  # 0 before the end of the first
    rollbacks: int = 0
    best_weights: dict = field(default_factory=dict)  # on the CPU
    last_good: dict = field(default_factory=dict)  # the trainer's state at the end of the last epoch, for a rollback

    @property
    def epochs(self) -> int:
        """The number of finished epochs."""
        return len(self.history)

    def best_accuracy(self) -> float:
        """The best epoch's validation accuracy; -1 before the first."""
        return self.history[self.best_epoch - 1]["valid_accuracy"] if self.best_epoch else -1.0

    def is_finished(self, patience: int) -> bool:
        """Whether no validation error is left, or early stopping ends the training. patience: in epochs; 0 is none."""
        return self.best_accuracy() == 1 or bool(patience and self.epochs - self.best_epoch >= patience)

    def record_epoch(self, row: dict, trainer: Trainer) -> None:
        """Adds an epoch, and keeps its weights if it is the best so far, or if no rows choose one."""
        if math.isnan(row["valid_accuracy"]) or row["valid_accuracy"] > self.best_accuracy():
            self.best_epoch, self.best_weights = self.epochs + 1, copy_to_cpu(trainer.eval_model.state_dict())
        self.history.append(row)


class Callback:
    """What `fit` calls during a training. This one does nothing but print; `callbacks.TrainingCallbacks` is a run's."""

    def on_train_begin(self, trainer: Trainer) -> TrainState | None:
        """The state to start from; may restore the trainer. None if that failed, and a new trainer is needed."""
        return TrainState()

    def on_batch_end(self, trainer: Trainer, state: TrainState) -> None:
        """After each batch of training and evaluation. May raise TimeUp, or anything else to stop."""

    def on_epoch_end(self, trainer: Trainer, state: TrainState) -> None:
        """After each epoch that did not diverge. May shorten the schedule."""

    def save(self, snapshot: dict, state: TrainState) -> None:
        """At the beginning and after each epoch. snapshot: the trainer's state."""

    def log(self, line: str) -> None:
        """Receives lines for people."""
        print(line)


def fit(job: TrainJob, callback: Callback | None = None) -> FitResult:
    """Trains a member and returns it with the weights of its best epoch, by validation accuracy.

    Without validation rows the last epoch is kept.

    Training stops early after `early_stopping_patience` epochs without a better one, and at once if no validation error
    is left. An epoch that diverged is repeated from the one before with half the learning rate; after three such
    rollbacks Diverged is raised. Raises TimeUp if the time is up before the end of the first epoch.
    """
    callback = callback or Callback()
    trainer = Trainer(job)
    while (state := callback.on_train_begin(trainer)) is None:
        trainer = Trainer(job)
    if not state.last_good:
        state.last_good = trainer.state_dict()
        callback.save(state.last_good, state)

    while state.epochs < trainer.schedule.epochs and not state.is_finished(job.member.early_stopping_patience):
        try:
            row = trainer.epoch(state.epochs + 1, lambda: callback.on_batch_end(trainer, state))
        except TimeUp:
            break
        if has_diverged(row, state.history):
            roll_back(trainer, state, row, callback)
        else:
            state.record_epoch(row, trainer)
            callback.on_epoch_end(trainer, state)
        state.last_good = trainer.state_dict()
        callback.save(state.last_good, state)

    if not state.best_epoch:
        raise TimeUp(f"{job.member.name}: the time was up before its first epoch ended")
    trainer.eval_model.load_state_dict(state.best_weights)
    seconds = sum(row["train_seconds"] for row in state.history)
    return FitResult(
        net=trainer.eval_model,
        history=state.history,
        best_epoch=state.best_epoch,
        seconds=seconds,
        images_per_second=state.epochs * len(job.train.labels) / seconds,
        accumulation_steps=trainer.accumulation_steps,
        rollbacks=state.rollbacks,
        scheduled_epochs=trainer.schedule.epochs,
    )


def has_diverged(row: dict, history: list[dict]) -> bool:
    """Whether a loss is not finite, or the training loss is far above that of a uniform guess and does not fall."""
    limit = max(DIVERGED_LOSS, history[-1]["train_loss"] if history else FIRST_EPOCH_LOSS)
    has_valid_loss = math.isnan(row["valid_accuracy"]) or math.isfinite(row["valid_loss"])
    return not (row["train_loss"] <= limit and has_valid_loss)  # nan is not <= anything


def roll_back(trainer: Trainer, state: TrainState, row: dict, callback: Callback) -> None:
    """Restores the end of the epoch before, and halves the learning rate; raises Diverged after three rollbacks."""
    name, epoch = trainer.member.name, row["epoch"]
    state.rollbacks += 1
    losses = f"training loss {row['train_loss']:.3g}"
    if not math.isnan(row["valid_accuracy"]):
        losses += f", validation loss {row['valid_loss']:.3g}"
    if state.rollbacks > MAX_ROLLBACKS:
        raise Diverged(
            f"{name}: diverges in epoch {epoch} ({losses}) also at an eighth of its learning rate; "
            f"set its lr to {trainer.member.lr / 16:g} or lower"
        )
    epochs, parts = trainer.schedule.epochs, trainer.accumulation_steps
    trainer.load_state_dict(state.last_good)
    # That state may be older than what the time budget and the memory have allowed since.
    trainer.schedule.epochs = min(epochs, trainer.schedule.epochs)
    trainer.accumulation_steps = max(parts, trainer.accumulation_steps)
    trainer.schedule.scale_lr(0.5)
    action = f"back to epoch {epoch - 1}, half the learning rate"
    callback.log(f"warning: {name} diverges in epoch {epoch} ({losses}): {action}")
