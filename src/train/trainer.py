"""Everything that changes while a member trains: one epoch of it, its evaluation, and its state to go on from."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional as F

from src.config import Member
from src.data.augment import augment
from src.data.batches import LabelledImages, class_weights, epoch_order, steps, train_batches
from src.dataset import IMAGE_SIZE
from src.errors import UserError
from src.train.allocator import release_freed_memory
from src.train.device import out_of_memory
from src.train.optimizer import MovingAverage, Schedule, make_optimizer
from src.train.precision import Precision
from src.train.predict import probabilities
from src.train.small_map_conv import replace_small_map_convs
from src.train.start import freeze_body, network
from src.train.tracking import progress


def nothing() -> None:
    """What is called between two steps where nobody waits for it."""


@dataclass
class Half:
    """An epoch under way: the order of its rows, the steps done, and what was summed over them.

    order: int64 (n,). sums: float32 (2,), of loss and hits, on the device: the host waits for it once an epoch, not at
    each step. seen: images so far. seconds: spent on its training. rate: the learning rate that it began with.
    """

    order: Tensor
    step: int
    sums: Tensor
    seen: int
    seconds: float
    rate: float


class Trainer:
    """A network in training. `epoch` trains and evaluates; `state` and `load` take it apart and put it together."""

    def __init__(
        self,
        member: Member,
        train: LabelledImages,
        valid: LabelledImages,
        precision: Precision,
        seed: int,
        start: Path | None = None,
    ):
        device = train.images.device
        torch.manual_seed(seed)  # first weights and dropout
        # Order of the rows and augmentation; on the CPU one seed for both generators would give both the same numbers.
        self.generator = torch.Generator(device).manual_seed(seed + 2**32)
        self.member, self.train, self.valid, self.precision = member, train, valid, precision
        self.net = network(member, start).to(device, memory_format=torch.channels_last)
        if device.type == "cpu":
            replace_small_map_convs(self.net)
        self.average = MovingAverage(self.net, member.ema) if member.ema else None
        self.optimizer = make_optimizer(member, self.net)
        self.schedule = Schedule(member, self.optimizer, steps(len(train.labels), member.batch_size))
        self.scaler = precision.scaler()
        weights = class_weights(train.labels)
        self.loss_weights = weights if "weights" in member.class_balancing else None
        self.row_weights = weights if "sampler" in member.class_balancing else None
        self.pieces, self.half = 1, None

    @property
    def evaluated(self) -> nn.Module:
        """The network whose predictions count: the moving average where there is one."""
        return self.average.module if self.average else self.net

    def epoch(self, number: int, between: Callable[[], None] = nothing) -> dict:
        """Trains one epoch and evaluates: a row of history. `between` is called after each step."""
        self.half = half = self.half or self.new_half()
        rate = half.rate
        loss, accuracy = self.train_epoch(number, between)
        release_freed_memory()  # evaluation's batches are larger
        started = time.perf_counter()
        valid = self.evaluate(between)
        self.half = None
        self.schedule.epoch(valid["valid_loss"])
        seconds = {"train_seconds": half.seconds, "seconds": half.seconds + time.perf_counter() - started}
        return {"epoch": number, "lr": rate, "train_loss": loss, "train_accuracy": accuracy, **valid, **seconds}

    def train_epoch(self, number: int = 1, between: Callable[[], None] = nothing) -> tuple[float, float]:
        """Trains the rest of the epoch under way: its mean loss and accuracy, as the batches were in training.

        That is: augmented, with dropout, the loss weighted and smoothed; they do not compare with the validation's.
        """
        self.net.train()
        freeze_body(self.net, number <= self.member.freeze_epochs)
        half = self.half
        started, before = time.perf_counter(), half.seconds
        side = training_side(self.member, number, self.schedule.epochs)
        transform = partial(augment, settings=self.member.augment, generator=self.generator, image_size=side)
        batches = train_batches(self.train, half.order, self.member.batch_size, transform, half.step)
        total = steps(len(half.order), self.member.batch_size)
        for x, y in progress(batches, total, f"{self.member.name} {number}/{self.schedule.epochs}", half.step):
            loss, hits = self.step(x, y)
            half.sums += torch.stack([loss * len(y), hits])
            half.seen, half.step = half.seen + len(y), half.step + 1
            half.seconds = before + time.perf_counter() - started
            between()
        loss, hits = half.sums.tolist()  # waits for the device
        half.seconds = before + time.perf_counter() - started
        return loss / half.seen, hits / half.seen

    def new_half(self) -> Half:
        """An epoch before its first step."""
        order = epoch_order(self.train.labels, self.row_weights, self.generator)
        return Half(order, 0, torch.zeros(2, device=order.device), 0, 0.0, self.schedule.rate)

    # ---------------------------------------------------------------------------------------- one step

    def step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the optimizer; loss and number of hits, on the device.

        Where the batch does not fit into memory it is taken in twice as many pieces, from then on: the gradient is
        still the whole batch's, batch norm alone sees less at a time.
        """
        while True:
            try:
                loss, hits = self.gradient(x.contiguous(memory_format=torch.channels_last), y)
                break
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self.take_smaller_pieces(len(y))
        try:
            self.scaler.step(self.optimizer)
        except RuntimeError as error:  # the first step makes the moments; done in half, it cannot be done again
            if out_of_memory(error):
                raise UserError(self.too_large(f"with the moments of {self.member.optimizer}")) from None
            raise
        self.scaler.update()
        self.schedule.step()
        if self.average:
            self.average.update()
        return loss, hits

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of one batch, piece by piece, left in the weights; loss and number of hits."""
        self.optimizer.zero_grad(set_to_none=True)
        total = len(y) if self.loss_weights is None else self.loss_weights[y].sum()
        loss, hits = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
        pieces = max(1, min(self.pieces, len(y) // 2))  # batch norm has no variance over one image
        for part, labels in zip(x.tensor_split(pieces), y.tensor_split(pieces), strict=True):
            with self.precision.autocast():
                logits = self.net(part).float()
            smoothing = self.member.label_smoothing
            summed = F.cross_entropy(logits, labels, self.loss_weights, reduction="sum", label_smoothing=smoothing)
            self.scaler.scale(summed / total).backward()
            loss += (summed / total).detach()
            hits += (logits.argmax(1) == labels).sum()
        return loss, hits

    def take_smaller_pieces(self, batch: int) -> None:
        """Halves what is in memory at a time; raises UserError where two images alone do not fit."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.train.images.device.type == "cuda":
            torch.cuda.empty_cache()
        self.pieces *= 2
        if batch // self.pieces < 2:
            raise UserError(self.too_large("even with two images at a time"))

    def too_large(self, when: str) -> str:
        """What to say of a network that does not fit."""
        return f"{self.member.name}: {self.member.network} does not fit into memory {when}"

    def evaluate(self, between: Callable[[], None] = nothing) -> dict:
        """Loss, accuracy and macro-F1 on the validation rows."""
        probs = probabilities(self.evaluated, self.valid.images, "none", self.precision, between=between)
        loss = F.nll_loss(probs.clamp_min(1e-12).log(), self.valid.labels).item()
        predicted, labels = probs.argmax(1).cpu(), self.valid.labels.cpu()
        f1 = f1_score(labels, predicted, average="macro", zero_division=0.0)
        accuracy = (predicted == labels).float().mean().item()
        return {"valid_loss": loss, "valid_accuracy": accuracy, "valid_f1": float(f1)}

    # ------------------------------------------------------------------------------------------- state

    def state(self) -> dict:
        """All that `load` needs to go on to the bit: tensors, copied to the host, and plain values."""
        device = self.train.images.device
        half = self.half and {name: getattr(self.half, name) for name in Half.__dataclass_fields__}
        return on_host(
            {
                "net": self.net.state_dict(),
                "average": self.average and self.average.module.state_dict(),
                "updates": self.average and self.average.updates,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state(),
                "scaler": self.scaler.state_dict(),
                "random": torch.get_rng_state(),
                "random_device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
                "generator": self.generator.get_state(),
                "pieces": self.pieces,
                "half": half,
            }
        )

    def load(self, state: dict) -> None:
        """Goes on from a `state()` of the same member on the same kind of device; raises what torch does for others."""
        device = self.train.images.device
        self.net.load_state_dict(state["net"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
            self.average.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load(state["schedule"])
        if state["scaler"]:  # empty where the training began in a precision that needs none
            self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state["random_device"], device)
        self.generator.set_state(state["generator"])
        half, self.pieces = state["half"], state["pieces"]
        self.half = half and Half(**half | {name: half[name].to(device) for name in ("order", "sums")})


def training_side(member: Member, number: int, epochs: int) -> int | None:
    """The side of the training images in epoch `number` of `epochs`; None for the stored one.

    Small images first cost a fraction of the time and teach most of it (Tan & Le 2021, "progressive learning").
    """
    growing = round(member.resize_fraction * epochs)
    if number > growing or member.initial_image_size == IMAGE_SIZE:
        return None
    return member.initial_image_size + (IMAGE_SIZE - member.initial_image_size) * (number - 1) // growing // 12 * 12


def on_host(value):
    """Nested dicts and lists with every tensor copied to the host, so that training on does not change it."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: on_host(inner) for key, inner in value.items()}
    return [on_host(inner) for inner in value] if isinstance(value, list | tuple) else value
