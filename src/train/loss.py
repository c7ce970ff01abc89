"""The loss of class numbers, and of rows of class probabilities where targets are mixed or soft."""

from torch import Tensor
from torch.nn import functional as F


def summed_loss(logits: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
    """The sum of the cross-entropies of a batch, with class weights (7,) and label smoothing (Szegedy et al. 2016).

    logits: float32 (b, 7); targets: int64 (b,) or float32 (b, 7). Rows that are one-hot give the loss of their classes.
    """
    return F.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=smoothing)


def total_weight(targets: Tensor, weights: Tensor | None) -> Tensor | int:
    """What a summed loss is divided by: the number of images, or the sum of the class weights of their targets."""
    if weights is None:
        return len(targets)
    return (targets @ weights).sum() if targets.is_floating_point() else weights[targets].sum()


def main_class(targets: Tensor) -> Tensor:
    """The class of each image, int64 (b,): the one with the largest part of its target."""
    return targets.argmax(1) if targets.is_floating_point() else targets
