"""The exponential moving average of a network's weights (after Polyak & Juditsky 1992)."""

import copy

import torch
from torch import nn


class ModelEMA:
    """The moving average of weights and batch-norm statistics, updated in one multi-tensor operation a step.

    The decay is min(decay, (1 + t) / (10 + t)) after t updates, so that the first random weights are forgotten; the
    first update copies the weights. torch's AveragedModel keeps t on the device and reads it at each step; here t is on
    the CPU, and no step waits.
    """

    def __init__(self, net: nn.Module, decay: float):
        self.module, self.decay, self.updates = copy.deepcopy(net).requires_grad_(False), decay, 0
        pairs = list(zip(self.module.state_dict().values(), net.state_dict().values(), strict=True))
        # These tensors are the networks' own and change in place, so the lists are made once.
        self.averaged, self.current = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Adds the network's present weights to the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        torch._foreach_lerp_(self.averaged, self.current, 1 - decay)
        for averaged, current in self.counters:
            averaged.copy_(current)
        self.updates += 1
