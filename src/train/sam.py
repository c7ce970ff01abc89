"""Sharpness-aware minimization (Foret et al. 2021): the gradient of a step is taken where the loss nearby is highest.

Late SAM takes such steps in the last epochs alone, which keeps most of the gain at a part of the cost (Zhou et al.
2025): a step takes two passes, and so twice the time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from src.config import Member
from src.train.schedule import is_in_last_part


def uses_sam(member: Member, epoch: int, epochs: int) -> bool:
    """Whether the steps of an epoch of `epochs`, counted from 1, are SAM's."""
    return is_in_last_part(epoch, epochs, member.sam_fraction)


def passes(member: Member, epoch: int, epochs: int) -> int:
    """The number of passes of a step in an epoch of `epochs`: 1, or 2 with SAM."""
    return 1 + uses_sam(member, epoch, epochs)


@contextmanager
def perturbed(net: nn.Module, rho: float) -> Iterator[None]:
    """A block in which the weights are moved by `rho` along their present gradients; afterwards they are restored.

    The direction does not depend on a gradient scaler's factor. Gradients that overflowed give weights that are not
    finite, and so gradients for which the scaler skips the step. Batch norms keep their running statistics, which come
    from the first pass. Nothing waits for the device.
    """
    weights = [p for p in net.parameters() if p.grad is not None]
    gradients, saved = [p.grad for p in weights], [p.detach().clone() for p in weights]
    norms = [layer for layer in net.modules() if getattr(layer, "track_running_stats", False)]
    length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    try:
        with torch.no_grad():
            torch._foreach_add_(weights, torch._foreach_mul(gradients, rho / (length + 1e-12)))
        for layer in norms:
            layer.track_running_stats = False  # a training layer then neither reads nor writes them
        yield
    finally:
        for layer in norms:
            layer.track_running_stats = True
        with torch.no_grad():
            torch._foreach_copy_(weights, saved)
