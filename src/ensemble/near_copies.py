"""Near copies: test images that show the same photograph as a training image, shifted or enlarged.

FER2013 has many photographs more than once, cut out a little differently, and a fifth of the test images has such a
near copy in train.csv. Two steps find them. The first compares the middle of each test image, enlarged or reduced from
six sizes, with each training image at 25 places: at a third of the resolution, without what all faces have in common.
The second aligns the most alike at full resolution, by the normalized cross-correlation (Lewis 1995) of their pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from src.dataset import IMAGE_SIZE

MIN_CORRELATION = 0.93  # of the aligned pixels; chosen on fold 0 (LOG.md), where .91 to .93 are equally good
SIDES = (28, 32, 36, 40, 44, 48)  # of the middle of a test image, in pixels
MAX_COMPARISONS = 2_000_000_000  # pairs of a training and a test image; FER2013 has 0.2 billion

_CROP = 36  # side to which the middle is resized
_SHIFTS = IMAGE_SIZE - _CROP + 1  # places of a crop in an image, each way
_POOL = 3  # the first step averages 3 x 3 pixels, and so moves by 3 pixels
_CANDIDATES, _MIN_COARSE = 16, 0.78  # the first step keeps so many training images that are at least so alike
_MIN_DEVIATION = 1.0  # of the grays of an image or a crop, of 255: less counts as this much, so flat ones resemble none
_ROWS = 512  # test images, or four times as many pairs, at a time


@dataclass(frozen=True)
class NearCopies:
    """test_rows and train_rows int64 (m,), ascending; correlation float32 (m,): of the aligned pixels."""

    test_rows: np.ndarray
    train_rows: np.ndarray
    correlation: np.ndarray


def find_near_copies(
    train: np.ndarray, test: np.ndarray, device: torch.device, on_part: Callable[[], None] = lambda: None
) -> NearCopies:
    """All pairs with at least MIN_CORRELATION, also exact copies. Flat images have no near copies.

    train: uint8 (n, 48, 48); test: uint8 (t, 48, 48). on_part is called every few seconds; it may raise.
    """
    if not (len(train) and len(test)):
        return strongest(np.empty((0, 3)))
    train_images, test_images = (torch.from_numpy(images).to(device) for images in (train, test))
    whole = standardized(train_images)
    common = whole.mean(0)
    places = [unit(part) for part in windows(whole - common)]
    found = [torch.empty(0, 3, dtype=torch.float64)]
    for side in SIDES:
        middle = unit(standardized(test_images, side) - windows(common[None])[len(places) // 2])
        pairs = candidates(middle, places, on_part)
        correlation = aligned_correlation(test_images, train_images, pairs, side)
        alike = correlation >= MIN_CORRELATION
        found.append(torch.column_stack([pairs[alike].double(), correlation[alike].double()]).cpu())
    return strongest(torch.cat(found).numpy())


def standardized(images: Tensor, side: int | None = None) -> Tensor:
    """Images at a third of the resolution with mean 0 and deviation 1, float32 (n, 16, 16), of uint8 (n, 48, 48).

    side: (n, 12, 12) of the middle with this side alone, by the mean and the deviation of the whole image.
    """
    parts = []
    for part in images.split(_ROWS):
        whole = F.avg_pool2d(part[:, None].float(), _POOL)
        shown = whole if side is None else F.avg_pool2d(middle_of(part, side)[:, None], _POOL)
        deviation = whole.std((2, 3), keepdim=True).clamp_min(_MIN_DEVIATION)
        parts.append(((shown - whole.mean((2, 3), keepdim=True)) / deviation)[:, 0])
    return torch.cat(parts)


def middle_of(images: Tensor, side: int) -> Tensor:
    """The middle of each image with this side, resized: float32 (n, 36, 36), of uint8 (n, 48, 48)."""
    first = (IMAGE_SIZE - side) // 2
    middle = images[:, None, first : first + side, first : first + side].float()
    size = (_CROP, _CROP)
    return F.interpolate(middle, size, mode="bilinear", antialias=True, align_corners=False)[:, 0]


def windows(images: Tensor) -> list[Tensor]:
    """The parts (n, 12, 12) of images (n, 16, 16) at all 25 places, row by row; the middle one is in the middle."""
    side, places = _CROP // _POOL, range((IMAGE_SIZE - _CROP) // _POOL + 1)
    return [images[:, top : top + side, left : left + side] for top in places for left in places]


def unit(images: Tensor, least: float = 1e-3) -> Tensor:
    """Vectors of mean 0 and length 1, (n, pixels); of an image that deviates less than `least`, a shorter one."""
    flat = images.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(least * flat.shape[1] ** 0.5)


def candidates(middles: Tensor, places: list[Tensor], on_part: Callable[[], None]) -> Tensor:
    """The pairs (test row, training row), int64 (m, 2), that are worth the second step.

    middles: unit vectors (t, 144); places: of the training images, unit vectors (n, 144) at each place.
    """
    found = []
    for start in range(0, len(middles), _ROWS):
        on_part()
        part = middles[start : start + _ROWS]
        best = part @ places[0].T
        for place in places[1:]:
            torch.maximum(best, part @ place.T, out=best)
        alike, rows = best.topk(min(_CANDIDATES, best.shape[1]), dim=1)
        number, rank = torch.nonzero(alike >= _MIN_COARSE, as_tuple=True)
        found.append(torch.stack([number + start, rows[number, rank]], dim=1))
    return torch.cat(found)


def aligned_correlation(test: Tensor, train: Tensor, pairs: Tensor, side: int) -> Tensor:
    """Of each pair the highest correlation, -1 to 1, over all places and the sizes side - 2, side, side + 2; (m,)."""
    sizes = [size for size in (side - 2, side, side + 2) if size <= IMAGE_SIZE]
    found = [torch.empty(0, dtype=torch.float64, device=test.device)]
    for part in pairs.split(4 * _ROWS) if len(pairs) else ():  # MKL refuses the transform of no image
        asked, image = test[part[:, 0]], train[part[:, 1]].float()
        found.append(torch.stack([best_match(middle_of(asked, size), image) for size in sizes]).amax(0))
    return torch.cat(found)


def best_match(crops: Tensor, images: Tensor) -> Tensor:
    """The highest normalized cross-correlation (m,) of each crop (m, 36, 36) with its image (m, 48, 48)."""
    template = unit(crops, _MIN_DEVIATION).view_as(crops)
    spectrum = torch.fft.rfft2(images) * torch.fft.rfft2(template, s=images.shape[1:]).conj()
    product = torch.fft.irfft2(spectrum, s=images.shape[1:])[:, :_SHIFTS, :_SHIFTS]
    squares = window_sums(images**2) - window_sums(images) ** 2 / _CROP**2
    return (product / squares.clamp_min(_MIN_DEVIATION**2 * _CROP**2).sqrt()).amax((1, 2))


def window_sums(images: Tensor) -> Tensor:
    """The sum of each 36 x 36 window, float64 (m, 13, 13), of images (m, 48, 48), from sums up to each pixel."""
    sums = F.pad(images.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    return sums[:, _CROP:, _CROP:] - sums[:, :-_CROP, _CROP:] - sums[:, _CROP:, :-_CROP] + sums[:, :-_CROP, :-_CROP]


def strongest(found: np.ndarray) -> NearCopies:
    """Each pair once, with its highest correlation. found: rows of test row, training row, correlation."""
    found = found[np.lexsort((-found[:, 2], found[:, 1], found[:, 0]))]
    pairs, first = np.unique(found[:, :2].astype(np.int64), axis=0, return_index=True)
    return NearCopies(pairs[:, 0], pairs[:, 1], found[first, 2].astype(np.float32))
