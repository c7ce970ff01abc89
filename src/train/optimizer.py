"""Optimizers, learning-rate schedules and the moving average of the weights, from torch's own parts."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

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
        total = member.epochs * steps
        self.optimizer = optimizer
        self.plateau = None
        if member.schedule == "one_cycle":
            rise = max(member.warmup or 0.3, 1.5 / max(total, 2))  # torch divides by zero where it is exactly one step
            self.by_step = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                [group["lr"] for group in optimizer.param_groups],
                total,
                pct_start=rise,
                cycle_momentum=False,
            )
            return
        rising = round(member.warmup * total)
        falling = (member.cosine_epochs * steps or total - rising) if member.schedule == "cosine" else 0
        self.by_step = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, rising, falling))
        if member.schedule == "plateau":
            self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=member.lr_factor, patience=member.lr_patience, eps=0
            )
            self.rising = rising

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


def factor(step: int, rising: int, falling: int) -> float:
    """What the peak rate is multiplied by at `step`.

    A linear rise, then half a cosine down to 0 in `falling` steps (0: constant). Past them it rises again, as torch's
    CosineAnnealingLR does past its T_max.
    """
    if step < rising:
        return (step + 1) / (rising + 1)
    if not falling:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / falling))


def make_average(net: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of weights and batch-norm statistics, one multi-tensor operation a step.

    The decay is min(decay, (1 + t) / (10 + t)) after t updates, so that the first random weights do not linger.
    """

    def average(kept: list, new: list, updates) -> None:
        if not torch.is_floating_point(kept[0]):
            torch._foreach_copy_(kept, new)
            return
        t = float(updates)
        torch._foreach_lerp_(kept, new, 1 - min(decay, (1 + t) / (10 + t)))

    return AveragedModel(net, multi_avg_fn=torch.no_grad()(average), use_buffers=True)
