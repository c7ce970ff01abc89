"""Optimizers, learning-rate schedules and the moving average of the weights."""

import copy
import math

import torch
from torch import nn

from src.config import Member
from src.models import body_of


def make_optimizer(member: Member, net: nn.Module) -> torch.optim.Optimizer:
    """The member's optimizer over all weights; fused into one kernel where the device has it."""
    fused = next(net.parameters()).device.type in ("cpu", "cuda")
    common = {"lr": member.lr, "weight_decay": member.weight_decay, "fused": fused}
    weights = groups(member, net) if member.layer_decay < 1 else net.parameters()
    if member.optimizer == "sgd":
        return torch.optim.SGD(weights, momentum=member.momentum, nesterov=member.momentum > 0, **common)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[member.optimizer](weights, **common)


def groups(member: Member, net: nn.Module) -> list[dict]:
    """The weights by layers, each with its learning rate: `layer_decay` times that of the layer after it.

    Norms, biases and what the network names (position embeddings) decay no weights (Bao et al. 2022).
    """
    from timm.optim import param_groups_layer_decay  # here, not above: timm takes seconds

    body = body_of(net)
    spared = body.no_weight_decay() if hasattr(body, "no_weight_decay") else ()
    found = param_groups_layer_decay(body, member.weight_decay, spared, layer_decay=member.layer_decay)
    return [group | {"lr": member.lr * group["lr_scale"]} for group in found]


class Schedule:
    """The learning rate over a training of `epochs` epochs with `steps` steps each.

    `step()` after each step, `epoch(loss)` after each epoch with the validation loss (the plateau schedule listens).
    """

    def __init__(self, member: Member, optimizer: torch.optim.Optimizer, steps: int):
        self.member, self.optimizer, self.steps, self.epochs = member, optimizer, steps, member.epochs
        self.by_step = torch.optim.lr_scheduler.LambdaLR(optimizer, self.factor)
        self.plateau = None
        if member.schedule == "plateau":
            self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=member.lr_factor, patience=member.lr_patience, eps=0
            )

    def factor(self, step: int) -> float:
        """What the peak rate is multiplied by at `step`."""
        total, member = self.epochs * self.steps, self.member
        if member.schedule == "one_cycle":
            return one_cycle(step, total, member.warmup_fraction or 0.3)
        falling = (member.cosine_epochs * self.steps or total - self.rising) if member.schedule == "cosine" else 0
        return warm_up_and_cosine(step, self.rising, falling)

    @property
    def rising(self) -> int:
        """The steps of the warm-up."""
        return round(self.member.warmup_fraction * self.epochs * self.steps)

    @property
    def rate(self) -> float:
        """The learning rate of the next step; of the last layer, where they differ."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def step(self) -> None:
        """To be called after each step of the optimizer."""
        # Past its warm-up the plateau schedule owns the rate; the step schedule would set it back.
        if self.plateau is None or self.by_step.last_epoch < self.rising:
            self.by_step.step()

    def epoch(self, valid_loss: float) -> None:
        """To be called after each epoch."""
        if self.plateau is not None and self.by_step.last_epoch >= self.rising:
            self.plateau.step(valid_loss)

    def slow_down(self, factor: float) -> None:
        """Multiplies all rates to come, and the present one."""
        self.by_step.base_lrs = [rate * factor for rate in self.by_step.base_lrs]
        for group in self.optimizer.param_groups:
            group["lr"] *= factor
            group["initial_lr"] *= factor

    def state(self) -> dict:
        """Plain values from which `load` goes on."""
        plateau = self.plateau.state_dict() if self.plateau else None
        return {"epochs": self.epochs, "by_step": self.by_step.state_dict(), "plateau": plateau}

    def load(self, state: dict) -> None:
        """Goes on where `state()` was taken. The optimizer's own state must be loaded too: the rates stand there."""
        self.epochs = state["epochs"]
        self.by_step.load_state_dict(state["by_step"])
        if self.plateau:
            self.plateau.load_state_dict(state["plateau"])


def warm_up_and_cosine(step: int, rising: int, falling: int) -> float:
    """A linear rise to 1, then half a cosine down to 0 in `falling` steps (0: constant).

    Past them it rises again, as torch's CosineAnnealingLR does past its T_max.
    """
    if step < rising:
        return (step + 1) / (rising + 1)
    if not falling:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / falling))


def one_cycle(step: int, total: int, warmup: float) -> float:
    """Half a cosine up from 1/25 to 1 in the fraction `warmup` of the steps, then one down to 4e-7 (Smith 2018).

    The values are those of torch's OneCycleLR; that one cannot be shortened under way.
    """
    first, last = 1 / 25, 1 / 25 / 1e4
    peak = max(warmup * total, 1.5) - 1  # at least half a step of rise, however short the training
    if step <= peak:
        return 1 + (first - 1) * (1 + math.cos(math.pi * step / peak)) / 2
    down = min(1.0, (step - peak) / max(total - 1 - peak, 1e-9))
    return last + (1 - last) * (1 + math.cos(math.pi * down)) / 2


class MovingAverage:
    """The exponential moving average of weights and batch-norm statistics, in one multi-tensor operation a step.

    The decay is min(decay, (1 + t) / (10 + t)) after t updates, so that the first random weights do not linger. torch's
    own AveragedModel keeps t on the device and asks for it at each step; here the host counts, and waits for nothing.
    """

    def __init__(self, net: nn.Module, decay: float):
        self.module, self.decay, self.updates = copy.deepcopy(net).requires_grad_(False), decay, 0
        pairs = list(zip(self.module.state_dict().values(), net.state_dict().values(), strict=True))
        # Lists made once: the tensors are the networks' own, and are changed in place for as long as these live.
        self.kept, self.new = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the network's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        torch._foreach_lerp_(self.kept, self.new, 1 - decay)
        for kept, new in self.counts:
            kept.copy_(new)
        self.updates += 1
