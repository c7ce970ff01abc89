"""Batches from images that are on the device: an index and a few tensor operations, no data loader.

The whole of FER2013 is 83 MB as uint8. It is copied to the device once; each batch is then indexed there.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.dataset import NUM_CLASSES


class LabelledImages(NamedTuple):
    """Images (n, 1, 48, 48), uint8 as stored or float32 as the network gets them; labels int64 (n,); on one device.

    In training the labels may be rows of class probabilities, float32 (n, 7).
    """

    images: Tensor
    labels: Tensor


def on_device(
    images: np.ndarray, labels: np.ndarray | None, device: torch.device, rows: np.ndarray | None = None
) -> LabelledImages:
    """Copies faces, uint8 (n, 48, 48), or some rows (int64), to the device. None as labels gives an empty tensor."""
    chosen = slice(None) if rows is None else rows
    known = np.empty(0, np.int64) if labels is None else labels[chosen]
    return LabelledImages(torch.from_numpy(images[chosen]).unsqueeze(1).to(device), torch.from_numpy(known).to(device))


def class_weights(labels: Tensor) -> Tensor:
    """Weights in inverse proportion to the class counts, float32 (7,): n / (classes present × count).

    scikit-learn's "balanced" weights; a class that does not occur gets 0.
    """
    counts = torch.bincount(labels, minlength=NUM_CLASSES).float()
    return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)


def epoch_order(labels: Tensor, weights: Tensor | None, generator: torch.Generator) -> Tensor:
    """The rows of one epoch, int64 (n,): a permutation, or n draws with replacement by each row's class weight."""
    if weights is None:
        return torch.randperm(len(labels), generator=generator, device=labels.device)
    return torch.multinomial(weights[labels], len(labels), replacement=True, generator=generator)


def steps(rows: int, batch_size: int) -> int:
    """The number of batches in an epoch. A last batch of one row is left out: batch norm has no variance there."""
    return rows // batch_size + (rows % batch_size >= 2)


def train_batches(
    data: LabelledImages, order: Tensor, batch_size: int, transform: Callable[[Tensor], Tensor], first_step: int = 0
) -> Iterator[LabelledImages]:
    """The batches of one epoch, transformed, from `first_step` on. The last batch can be smaller.

    order: of `epoch_order`. transform: uint8 (b, 1, 48, 48) → float32.
    """
    for step in range(first_step, steps(len(order), batch_size)):
        rows = order[step * batch_size : (step + 1) * batch_size]
        yield LabelledImages(transform(data.images[rows]), data.labels[rows])
