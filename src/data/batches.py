"""Batches from images that lie on the device: an index and a few tensor operations, no loader.

The whole of FER2013 is 83 MB as uint8. It is moved to the device once; from there a batch is a gather. What is too
large for that lies in a file (`mapped`), and its batches are the same to the bit.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.config import Augment
from src.data.augment import augment
from src.data.mapped import Mapped
from src.dataset import NUM_CLASSES


class Rows(NamedTuple):
    """Images uint8 (n, 1, 48, 48) and labels int64 (n,), on one device; or images in a file, for that device."""

    images: Tensor | Mapped
    labels: Tensor


def on_device(
    images: np.ndarray, labels: np.ndarray | None, device: torch.device, numbers: np.ndarray | None = None
) -> Rows:
    """Faces as tensors on the device; without labels (test data) the labels are an empty tensor.

    numbers: int64, the rows to take; None: all. Images that are memory-mapped stay in their file.
    """
    taken = slice(None) if numbers is None else numbers
    known = torch.from_numpy(np.empty(0, np.int64) if labels is None else labels[taken]).to(device)
    if isinstance(images, np.memmap):
        return Rows(Mapped(images, np.arange(len(images))[taken], device), known)
    return Rows(torch.from_numpy(images[taken]).unsqueeze(1).to(device), known)


def class_weights(labels: Tensor, classes: int = NUM_CLASSES) -> Tensor:
    """Weights in inverse proportion to the class counts, float32 (classes,): n / (classes present × count).

    scikit-learn's "balanced" weights; a class that does not occur gets 0.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)


def epoch_order(labels: Tensor, weights: Tensor | None, generator: torch.Generator) -> Tensor:
    """The rows of one epoch, int64 (n,): a permutation, or n draws with replacement by each row's class weight."""
    if weights is None:
        return torch.randperm(len(labels), generator=generator, device=labels.device)
    return torch.multinomial(weights[labels], len(labels), replacement=True, generator=generator)


def steps(rows: int, size: int) -> int:
    """Batches of an epoch. A last one of one row is left out: batch norm has no variance there."""
    return rows // size + (rows % size >= 2)


def train_batches(
    rows: Rows,
    order: Tensor,
    size: int,
    how: Augment,
    generator: torch.Generator,
    first: int = 0,
    side: int | None = None,
) -> Iterator[Rows]:
    """Augmented batches in this order: images float32 (b, 1, 48, 48), labels int64 (b,); the last can be smaller.

    first: the step to begin with, where an epoch goes on half-way. side: of the images, where it is not the stored one.
    """
    spans = [slice(step * size, (step + 1) * size) for step in range(first, steps(len(order), size))]
    with closing(gather(rows.images, spans, order)) as found:
        for span, images in zip(spans, found, strict=True):
            yield Rows(augment(images, how, generator, side), rows.labels[order[span]])


def gather(images: Tensor | Mapped, spans: Sequence[slice], order: Tensor | None = None) -> Iterator[Tensor]:
    """The images of each span, of the rows in this order (None: as they stand), on the device. To be closed."""
    if isinstance(images, Mapped):
        return (images if order is None else images[order]).parts(spans)
    return (images[span if order is None else order[span]] for span in spans)
