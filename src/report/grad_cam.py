"""Grad-CAM (Selvaraju et al. 2017): where in an image a convolutional network found what speaks for a class.

The network's last feature map is weighted channel by channel with the mean gradient of the class's logit, summed, and
cut off at 0. The feature map is found by watching one pass, so that no family has to name it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.models.watching import in_evaluation, watched

MIN_SIDE = 3  # of a feature map; a smaller one does not say where
_POOLING = nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d
_PASSING = nn.modules.dropout._DropoutNd, nn.Identity, nn.Sequential  # what they return has been seen before


def grad_cam(net: nn.Module, x: Tensor, classes: Tensor | None = None) -> Tensor:
    """The maps of images, float32 (n, h, w), from 0; all 0 where nothing speaks for the class.

    x: as the network takes it, float (n, 1, h, w). classes: int64 (n,); None: what the network predicts. The weights,
    their gradients and the network's mode stay as they were. Raises ValueError where there is no map of MIN_SIDE.
    """
    with in_evaluation(net), torch.enable_grad():
        found = _FeatureMap()
        with watched(net, found.begin, found.end):
            logits = net(x.detach().requires_grad_())  # so that a frozen network has gradients too
        if found.last is None:
            raise ValueError(f"{type(net).__name__} has no map of features with {MIN_SIDE} pixels a side")
        classes = logits.argmax(1) if classes is None else classes
        chosen = logits.gather(1, classes.unsqueeze(1)).sum()
        (gradient,) = torch.autograd.grad(chosen, found.last)
        features, gradient = channels_first(found.activated()).float(), channels_first(gradient).float()
    weighted = (features * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()
    return F.interpolate(weighted, size=x.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)


class _FeatureMap:
    """Finds the last map of features through which everything passes.

    A block counts as what it returns: its branches hold maps that its shortcut goes around. Of a map and what pooling
    leaves of it, the finer one counts; if an activation follows the pooling, it is applied to that map.
    """

    def __init__(self):
        self.maps, self.begun = [], []  # maps so far; their number at the beginning of each open module
        self.pooled, self.activations = None, []  # what has become of the last map without another layer

    last = property(lambda self: self.maps[-1] if self.maps else None)

    def activated(self) -> Tensor:
        """The last map as the layers after it see it."""
        features = self.last.detach().clone()
        for activation in self.activations:
            features = activation(features)
        return features

    def begin(self, module: nn.Module, inputs: tuple) -> None:
        """Before a module."""
        self.begun.append(len(self.maps))

    def end(self, module: nn.Module, inputs: tuple, output: object) -> None:
        """After a module."""
        before = self.begun.pop()
        if not isinstance(output, Tensor) or output.ndim != 4 or not output.requires_grad:
            return
        if isinstance(module, _POOLING):
            self.pooled = output if inputs[0] is self.last else None
        elif self.pooled is not None and self._is_activation(module, inputs, output):
            self.pooled = output
            self.activations.append(module)
        elif not isinstance(module, _PASSING):
            del self.maps[before:]
            if min(channels_first(output).shape[-2:]) >= MIN_SIDE:
                self.maps.append(output)
                self.pooled, self.activations = None, []

    def _is_activation(self, module: nn.Module, inputs: tuple, output: Tensor) -> bool:
        """Whether the module changes each value of the pooled map alone."""
        same = bool(inputs) and inputs[0] is self.pooled and inputs[0].shape == output.shape
        return same and not isinstance(module, nn.Sequential) and not list(module.parameters())


def channels_first(maps: Tensor) -> Tensor:
    """Maps as (n, c, h, w); some networks keep them as (n, h, w, c), which square maps tell."""
    a, b, c = maps.shape[1:]
    return maps.permute(0, 3, 1, 2) if a == b != c else maps
