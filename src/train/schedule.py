"""Learning-rate schedules: constant, plateau, cosine and one cycle, each with a warm-up."""

import math
import weakref

import torch

from src.config import Member


class LRSchedule:
    """The learning rate over a training of `epochs` epochs with `steps` steps each; `epochs` may shrink meanwhile.

    Call `step()` after each step, and `end_epoch(valid_loss)` after each epoch for the plateau schedule.
    """

    def __init__(self, member: Member, optimizer: torch.optim.Optimizer, steps: int):
        self.member, self.optimizer, self.steps, self.epochs = member, optimizer, steps, member.epochs
        # Not self.factor: the optimizer would stay in a GPU's memory until Python looks for cycles of references.
        factor = weakref.WeakMethod(self.factor)
        self.by_step = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor()(step))
        self.is_warmed_up = not self.warmup_steps  # at the peak once; a shorter schedule may skip a part of the way
        self.plateau = None
        if member.schedule == "plateau":
            settings = {"factor": member.lr_factor, "patience": member.lr_patience, "eps": 0}
            self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings)

    def factor(self, step: int) -> float:
        """What the peak learning rate is multiplied by at `step`: a linear warm-up to 1, then the schedule.

        A cosine of some epochs rises again after them, as torch's CosineAnnealingLR does after its T_max.
        """
        total, warmup_steps, member = self.epochs * self.steps, self.warmup_steps, self.member
        if member.schedule == "one_cycle":
            return one_cycle(step, total, member.warmup_fraction or 0.3)
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if member.schedule != "cosine":
            return 1.0
        decay_steps = member.cosine_epochs * self.steps or max(1, total - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / decay_steps))

    @property
    def warmup_steps(self) -> int:
        """The number of steps in the warm-up."""
        return round(self.member.warmup_fraction * self.epochs * self.steps)

    @property
    def lr(self) -> float:
        """The learning rate of the next step; the last layer's where layers differ."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def step(self) -> None:
        """Sets the learning rate for the next step."""
        # After the warm-up ReduceLROnPlateau sets the learning rate; LambdaLR would reset it.
        if self.plateau is None or not self.is_warmed_up:
            self.by_step.step()
            self.is_warmed_up = self.by_step.last_epoch >= self.warmup_steps

    def end_epoch(self, valid_loss: float) -> None:
        """Tells the plateau schedule the validation loss of an epoch."""
        if self.plateau is not None and self.is_warmed_up:
            self.plateau.step(valid_loss)

    def scale_lr(self, factor: float) -> None:
        """Multiplies the present learning rate and all later ones."""
        self.by_step.base_lrs = [lr * factor for lr in self.by_step.base_lrs]
        for group in self.optimizer.param_groups:
            group["lr"] *= factor
            group["initial_lr"] *= factor

    def state_dict(self) -> dict:
        """Plain values for `load_state_dict`."""
        plateau = self.plateau.state_dict() if self.plateau else None
        by_step = self.by_step.state_dict()
        return {"epochs": self.epochs, "by_step": by_step, "plateau": plateau, "is_warmed_up": self.is_warmed_up}

    def load_state_dict(self, state: dict) -> None:
        """Restores a `state_dict()`. The optimizer's state must be loaded too: it holds the learning rates."""
        self.epochs = state["epochs"]
        self.by_step.load_state_dict(state["by_step"])
        self.is_warmed_up = state["is_warmed_up"]
        if self.plateau:
            self.plateau.load_state_dict(state["plateau"])


def is_in_last_part(epoch: int, epochs: int, fraction: float) -> bool:
    """Whether an epoch, counted from 1, is in the last `fraction` of `epochs` epochs, to the nearest whole epoch."""
    last = round(fraction * epochs)
    return last > 0 and epoch > epochs - last


def one_cycle(step: int, total: int, warmup_fraction: float) -> float:
    """Half a cosine up from 1/25 to 1 in the first `warmup_fraction` of the steps, then one down to 4e-6 (Smith 2018).

    The values are those of torch's OneCycleLR, which cannot be shortened during training.
    """
    first, last = 1 / 25, 1 / 25 / 1e4
    peak = max(warmup_fraction * total, 1.5) - 1  # at least half a step of rise, however short the training
    if step <= peak:
        return 1 + (first - 1) * (1 + math.cos(math.pi * step / peak)) / 2
    down = min(1.0, (step - peak) / max(total - 1 - peak, 1e-9))
    return last + (1 - last) * (1 + math.cos(math.pi * down)) / 2
