"""One member in training: its epochs, its evaluation, and the state from which it can be resumed."""

import time
from collections.abc import Callable, Iterator
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
from src.train.device import is_out_of_memory
from src.train.ema import ModelEMA
from src.train.initial_weights import create_network, freeze_body
from src.train.loss import main_class, summed_loss, total_weight
from src.train.mixing import mixed_batches, mixes
from src.train.optimizer import make_optimizer
from src.train.precision import Precision
from src.train.predict import probabilities
from src.train.sam import perturbed, uses_sam
from src.train.schedule import LRSchedule
from src.train.tracking import progress_bar


@dataclass(frozen=True)
class TrainJob:
    """What to train, and on which rows. train, valid and targets are on one device; initial_weights is a file."""

    member: Member
    train: LabelledImages
    valid: LabelledImages
    precision: Precision
    seed: int
    initial_weights: Path | None = None
    targets: Tensor | None = None  # class probabilities (n, 7) to learn instead of the labels, smoothed already


@dataclass
class EpochState:
    """An epoch in progress."""

    number: int  # from 1
    order: Tensor  # rows, int64 (n,)
    step: int  # steps done
    sums: Tensor  # of loss and hits, float32 (2,), on the device, so that no step waits for it
    seen: int  # images so far
    seconds: float  # of training so far
    lr: float  # of the first step


class Trainer:
    """A network in training. The same seed, CPU and number of threads give bitwise the same network."""

    def __init__(self, job: TrainJob):
        member, device = job.member, job.train.images.device
        torch.manual_seed(job.seed)  # initial weights and dropout
        # For the order of rows and augmentation, with a seed that no training has: equal seeds would give both
        # generators the same numbers. On a CPU the lowest 32 bits of a seed count.
        self.generator = torch.Generator(device).manual_seed((job.seed + 2**31) % 2**32)
        self.job, self.member, self.device = job, member, device
        self.net = create_network(member, job.initial_weights).to(device, memory_format=torch.channels_last)
        self.ema = ModelEMA(self.net, member.ema) if member.ema else None
        self.optimizer = make_optimizer(member, self.net)
        self.schedule = LRSchedule(member, self.optimizer, steps(len(job.train.labels), member.batch_size))
        self.scaler = job.precision.scaler()
        weights = class_weights(job.train.labels)
        self.loss_weights = weights if "weights" in member.class_balancing else None
        self.row_weights = weights if "sampler" in member.class_balancing else None
        has_targets = job.targets is not None
        self.rows = LabelledImages(job.train.images, job.targets if has_targets else job.train.labels)
        self.smoothing = 0.0 if has_targets else member.label_smoothing
        self.accumulation_steps, self.epoch_state = 1, None

    @property
    def eval_model(self) -> nn.Module:
        """The network that is evaluated: the moving average if the member has one."""
        return self.ema.module if self.ema else self.net

    @property
    def uses_sam(self) -> bool:
        """Whether the steps of the epoch in progress are sharpness-aware."""
        return bool(self.epoch_state) and uses_sam(self.member, self.epoch_state.number, self.schedule.epochs)

    def epoch(self, number: int, on_batch_end: Callable[[], None] = lambda: None) -> dict:
        """Trains epoch `number`, or the rest of it, and evaluates. Returns its row of the history.

        train_loss and train_accuracy are those of the training batches: augmented, mixed, with dropout, weighted and
        smoothed. A mixed image is a hit where the network names the class with the larger part of its target.
        `on_batch_end` is called after each batch of training and evaluation.
        """
        state = self.epoch_state = self.epoch_state or self.new_epoch(number)
        self.net.train()
        freeze_body(self.net, number <= self.member.freeze_epochs)
        image_size = training_image_size(self.member, number, self.schedule.epochs)
        total = steps(len(state.order), self.member.batch_size)
        title = f"{self.member.name} {number}/{self.schedule.epochs}"
        started, before = time.perf_counter(), state.seconds
        for x, y in progress_bar(self.batches(state, image_size), total, title, state.step):
            loss, hits = self.step(x, y)
            state.sums += torch.stack([loss * len(y), hits])
            state.seen, state.step = state.seen + len(y), state.step + 1
            state.seconds = before + time.perf_counter() - started
            on_batch_end()
        loss, hits = state.sums.tolist()  # waits for the device
        state.seconds = before + time.perf_counter() - started

        release_freed_memory()  # evaluation has larger batches
        started = time.perf_counter()
        valid = self.evaluate(on_batch_end)
        self.schedule.end_epoch(valid["valid_loss"])
        self.epoch_state = None
        train = {"train_loss": loss / state.seen, "train_accuracy": hits / state.seen}
        seconds = {"train_seconds": state.seconds, "seconds": state.seconds + time.perf_counter() - started}
        return {"epoch": number, "lr": state.lr, **train, **valid, **seconds}

    def new_epoch(self, number: int = 1) -> EpochState:
        """Epoch `number` before its first step."""
        order = epoch_order(self.job.train.labels, self.row_weights, self.generator)
        return EpochState(number, order, 0, torch.zeros(2, device=order.device), 0, 0.0, self.schedule.lr)

    def batches(self, state: EpochState, image_size: int | None = None) -> Iterator[LabelledImages]:
        """The augmented and mixed batches that are left of an epoch. image_size: as `training_image_size` gives it."""
        transform = partial(augment, settings=self.member.augment, generator=self.generator, image_size=image_size)
        batches = train_batches(self.rows, state.order, self.member.batch_size, transform, state.step)
        if mixes(self.member, state.number, self.schedule.epochs):
            return mixed_batches(batches, self.member, (self.job.seed, state.number), state.step)
        return batches

    def step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """One optimizer step on images x and targets y; the mean loss and the number of hits, on the device.

        y: class numbers int64 (b,), or rows of class probabilities float32 (b, 7), of which the largest is to be hit.
        A batch that does not fit into memory is split into twice as many parts, then and in all later steps. The
        gradient stays that of the whole batch; only batch norm sees fewer images. UserError if two images do not fit.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        while True:
            try:
                loss, hits = self.gradient(x, y)
                if self.uses_sam:
                    with perturbed(self.net, self.member.sam_rho):
                        self.gradient(x, y)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self.double_accumulation_steps(len(y))  # not above: the error's traceback holds the batch in memory
        try:
            self.scaler.step(self.optimizer)
        except RuntimeError as error:  # the first step creates the moments; half a step cannot be repeated
            if is_out_of_memory(error):
                raise self.does_not_fit(f"with the moments of {self.member.optimizer}") from None
            raise
        self.scaler.update()
        self.schedule.step()
        if self.ema:
            self.ema.update()
        return loss, hits

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the gradient of one batch, part by part; returns as `step` does."""
        self.optimizer.zero_grad(set_to_none=True)
        total = total_weight(y, self.loss_weights)
        loss, hits = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
        parts = max(1, min(self.accumulation_steps, len(y) // 2))  # batch norm has no variance over one image
        for images, targets in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
            with self.job.precision.autocast():
                logits = self.net(images).float()
            summed = summed_loss(logits, targets, self.loss_weights, self.smoothing)
            self.scaler.scale(summed / total).backward()
            loss += (summed / total).detach()
            hits += (logits.argmax(1) == main_class(targets)).sum()
        return loss, hits

    def double_accumulation_steps(self, batch_size: int) -> None:
        """Halves the images in memory at a time; UserError if two images do not fit."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.accumulation_steps *= 2
        if batch_size // self.accumulation_steps < 2:
            raise self.does_not_fit("even with two images at a time")

    def does_not_fit(self, condition: str) -> UserError:
        """The error for a network that is too large."""
        return UserError(f"{self.member.name}: {self.member.network} does not fit into memory {condition}")

    def evaluate(self, on_batch_end: Callable[[], None] = lambda: None) -> dict:
        """Loss, accuracy and macro-F1 on the validation rows; NaN where there are none."""
        valid = self.job.valid
        if not len(valid.labels):
            return dict.fromkeys(("valid_loss", "valid_accuracy", "valid_f1"), float("nan"))
        probs = probabilities(self.eval_model, valid.images, "none", self.job.precision, on_batch_end=on_batch_end)
        loss = F.nll_loss(probs.clamp_min(1e-12).log(), valid.labels).item()
        predicted, labels = probs.argmax(1).cpu(), valid.labels.cpu()
        f1 = f1_score(labels, predicted, average="macro", zero_division=0.0)
        accuracy = (predicted == labels).float().mean().item()
        return {"valid_loss": loss, "valid_accuracy": accuracy, "valid_f1": float(f1)}

    def state_dict(self) -> dict:
        """All that `load_state_dict` needs to resume bitwise: tensors, copied to the CPU, and plain values."""
        return copy_to_cpu(
            {
                "net": self.net.state_dict(),
                "ema": self.ema and self.ema.module.state_dict(),
                "ema_updates": self.ema and self.ema.updates,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
                "rng": torch.get_rng_state(),
                "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
                "generator": self.generator.get_state(),
                "accumulation_steps": self.accumulation_steps,
                "epoch_state": self.epoch_state and dict(vars(self.epoch_state)),
            }
        )

    def load_state_dict(self, state: dict) -> None:
        """Restores a `state_dict()` of the same member on the same kind of device; raises torch's errors for others."""
        self.net.load_state_dict(state["net"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
            self.ema.updates = state["ema_updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"]:  # empty if the training began in a precision without a scaler
            self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.generator.set_state(state["generator"])
        self.accumulation_steps, self.epoch_state = state["accumulation_steps"], None
        if epoch := state["epoch_state"]:
            self.epoch_state = EpochState(**epoch | {name: epoch[name].to(self.device) for name in ("order", "sums")})


def training_image_size(member: Member, epoch: int, epochs: int) -> int | None:
    """The side of the training images in epoch `epoch` of `epochs`; None for the stored one.

    Small images first cost a fraction of the time and teach most of it (Tan & Le 2021, "progressive learning").
    """
    resized, smallest = round(member.resize_fraction * epochs), member.initial_image_size
    if epoch > resized or smallest == IMAGE_SIZE:
        return None
    return smallest + (IMAGE_SIZE - smallest) * (epoch - 1) // resized // 12 * 12


def copy_to_cpu(value):
    """Nested dicts and lists, with a CPU copy of each tensor that further training does not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copy_to_cpu(inner) for key, inner in value.items()}
    return [copy_to_cpu(inner) for inner in value] if isinstance(value, list | tuple) else value
