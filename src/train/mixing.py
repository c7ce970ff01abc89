"""Mixup and cutmix: each image of a batch is combined with another one of the batch, and so are their targets.

What is random is drawn on the CPU from the seed, the epoch and the step. So no step waits for the device, and a resumed
training draws what it would have drawn.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from src.config import Member
from src.data.batches import LabelledImages
from src.dataset import NUM_CLASSES
from src.train.schedule import is_in_last_part


def mixes(member: Member, epoch: int, epochs: int) -> bool:
    """Whether a member mixes images in an epoch of `epochs`, counted from 1."""
    is_on = bool(member.mixup or member.cutmix)
    return is_on and not is_in_last_part(epoch, epochs, member.mix_off_fraction)


def mixed_batches(
    batches: Iterable[LabelledImages], member: Member, seed: tuple[int, int], first_step: int
) -> Iterator[LabelledImages]:
    """The batches of an epoch, mixed. seed: the training's and the number of the epoch; first_step: of `batches`."""
    for step, (images, targets) in enumerate(batches, first_step):
        yield mix(images, targets, member, np.random.default_rng((*seed, step)))


def mix(images: Tensor, targets: Tensor, member: Member, rng: np.random.Generator) -> LabelledImages:
    """A batch in which each image and its target are mixed with those of the image before it, or the batch as it is.

    images: float (b, 1, h, w), overwritten; targets: class numbers (b,), or rows of class probabilities (b, 7). The
    order of a batch is random, so that the image before is a random one. A mixed batch has rows as targets.
    """
    if rng.random() >= member.mix_probability:
        return LabelledImages(images, targets)
    is_cutmix = rng.random() < member.cutmix_share if member.mixup and member.cutmix else bool(member.cutmix)
    images, lam = cutmix(images, member.cutmix, rng) if is_cutmix else mixup(images, member.mixup, rng)
    rows = target_rows(targets)
    return LabelledImages(images, torch.lerp(rows.roll(1, 0), rows, lam))


def mixup(images: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Weighted means of each image and the one before; the weight of the image (Zhang et al. 2018, "mixup").

    The weight is drawn from Beta(alpha, alpha) once for the whole batch, as in the paper.
    """
    lam = rng.beta(alpha, alpha)
    return torch.lerp(images.roll(1, 0), images, lam), lam


def cutmix(images: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Pastes a rectangle of the image before into each image; the share that is left of the image (Yun et al. 2019).

    The rectangle has the proportions of the image and an area from Beta(alpha, alpha). Its centre lies anywhere, so a
    part of it can lie outside: the share that is left is counted after that.
    """
    height, width = images.shape[-2:]
    side = np.sqrt(rng.beta(alpha, alpha))
    top, bottom = span(side, height, rng)
    left, right = span(side, width, rng)
    box = (..., slice(top, bottom), slice(left, right))
    images[box] = images[box].roll(1, 0)
    return images, 1 - (bottom - top) * (right - left) / (height * width)


def span(share: float, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Begin and end, in pixels within `side`, of a run of `share` of it with a random centre."""
    half, centre = share * side / 2, rng.random() * side
    return max(0, round(centre - half)), min(side, round(centre + half))


def target_rows(targets: Tensor) -> Tensor:
    """Class numbers (b,) as rows of class probabilities, float32 (b, 7); such rows as they are."""
    if targets.is_floating_point():
        return targets
    return torch.eye(NUM_CLASSES, device=targets.device)[targets]
