"""The training of one member."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional as F

from src.config import Member
from src.data.batches import Rows, class_weights, epoch_order, steps, train_batches
from src.errors import UserError
from src.train.optimizer import Schedule, make_average, make_optimizer
from src.train.precision import Precision
from src.train.predict import probabilities
from src.train.start import freeze_body, network
from src.train.tracking import progress


@dataclass(frozen=True)
class Fitted:
    """A trained network with the weights of its best epoch, its history (a dict an epoch), and the seconds and speed of
    training alone, without evaluation."""

    net: nn.Module
    history: list[dict]
    best_epoch: int
    seconds: float
    images_per_second: float


class Trainer:
    """Everything that changes while a member trains, and one epoch of it."""

    def __init__(
        self, member: Member, train: Rows, valid: Rows, precision: Precision, seed: int, start: Path | None = None
    ):
        device = train.images.device
        torch.manual_seed(seed)  # first weights and dropout
        # Order of the rows and augmentation; on the CPU one seed for both generators would give both the same numbers.
        self.generator = torch.Generator(device).manual_seed(seed + 2**32)
        self.member, self.train, self.valid, self.precision = member, train, valid, precision
        self.net = network(member, start).to(device, memory_format=torch.channels_last)
        self.average = make_average(self.net, member.ema) if member.ema else None
        self.optimizer = make_optimizer(member, self.net)
        self.schedule = Schedule(member, self.optimizer, steps(len(train.labels), member.batch))
        self.scaler = precision.scaler()
        weights = class_weights(train.labels)
        self.loss_weights = weights if "weights" in member.balance else None
        self.row_weights = weights if "sampler" in member.balance else None

    @property
    def evaluated(self) -> nn.Module:
        """The network whose predictions count: the moving average where there is one."""
        return self.average.module if self.average else self.net

    def epoch(self, number: int) -> dict:
        """Trains one epoch and evaluates: a row of history."""
        started, rate = time.perf_counter(), self.schedule.rate
        self.net.train()
        freeze_body(self.net, number <= self.member.freeze)
        loss, accuracy = self.train_epoch(f"{self.member.name} {number}/{self.member.epochs}")
        trained = time.perf_counter()
        valid = self.evaluate()
        self.schedule.epoch(valid["valid_loss"])
        seconds = {"train_seconds": trained - started, "seconds": time.perf_counter() - started}
        return {"epoch": number, "lr": rate, "train_loss": loss, "train_accuracy": accuracy, **valid, **seconds}

    def train_epoch(self, title: str) -> tuple[float, float]:
        """Mean loss and accuracy over one epoch, as they were when each batch was trained on.

        That is: augmented, with dropout, the loss weighted and smoothed; they do not compare with the validation's.
        """
        order = epoch_order(self.train.labels, self.row_weights, self.generator)
        batches = train_batches(self.train, order, self.member.batch, self.member.augment, self.generator)
        # Summed on the device: the host waits for it once an epoch, not at each step.
        sums, seen = torch.zeros(2, device=order.device), 0
        for x, y in progress(batches, steps(len(order), self.member.batch), title):
            loss, logits = self.step(x, y)
            sums += torch.stack([loss * len(y), (logits.argmax(1) == y).sum()])
            seen += len(y)
        loss, hits = sums.tolist()
        return loss / seen, hits / seen

    def step(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of the optimizer; loss and logits, detached."""
        with self.precision.autocast():
            logits = self.net(x.contiguous(memory_format=torch.channels_last))
        smoothing = self.member.label_smoothing
        loss = F.cross_entropy(logits.float(), y, weight=self.loss_weights, label_smoothing=smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self.net)
        return loss.detach(), logits.detach()

    def evaluate(self) -> dict:
        """Loss, accuracy and macro-F1 on the validation rows."""
        probs = probabilities(self.evaluated, self.valid.images, "plain", self.precision)
        loss = F.nll_loss(probs.clamp_min(1e-12).log(), self.valid.labels).item()
        predicted, labels = probs.argmax(1).cpu(), self.valid.labels.cpu()
        f1 = f1_score(labels, predicted, average="macro", zero_division=0.0)
        accuracy = (predicted == labels).float().mean().item()
        return {"valid_loss": loss, "valid_accuracy": accuracy, "valid_f1": float(f1)}


def fit(
    member: Member,
    train: Rows,
    valid: Rows,
    precision: Precision,
    seed: int,
    report: Callable[[dict, bool], None] = lambda row, best: None,
    start: Path | None = None,
) -> Fitted:
    """Trains the member and returns it with the weights of its best epoch, by validation accuracy.

    train, valid: on one device. start: a file of pretrained weights. `report(row, best)` is called after each epoch.
    The same seed on the same CPU with the same number of threads gives bitwise the same network. Training stops early
    after `member.patience` epochs without a better one, and at once when no validation error is left. Raises UserError
    where the loss is no longer finite.
    """
    trainer = Trainer(member, train, valid, precision, seed, start)
    history, best, weights = [], 0, {}
    for number in range(1, member.epochs + 1):
        row = trainer.epoch(number)
        require_finite(member, row)
        better = not history or row["valid_accuracy"] > history[best - 1]["valid_accuracy"]
        history.append(row)
        if better:
            best, weights = number, copy.deepcopy(trainer.evaluated.state_dict())
        report(row, better)
        if row["valid_accuracy"] == 1 or (member.patience and number - best >= member.patience):
            break
    trainer.evaluated.load_state_dict(weights)
    seconds = sum(row["train_seconds"] for row in history)
    return Fitted(trainer.evaluated, history, best, seconds, len(history) * len(train.labels) / seconds)


def require_finite(member: Member, row: dict) -> None:
    """Raise UserError where an epoch ended with a loss that is not a number."""
    if not all(abs(row[key]) < float("inf") for key in ("train_loss", "valid_loss")):
        raise UserError(
            f"{member.name}: the loss is no longer finite in epoch {row['epoch']}; "
            f"lower its learning rate (--set {member.name}.lr={member.lr / 2:g})"
        )
