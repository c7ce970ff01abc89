"""Views of an image for test-time augmentation: mirrored, shifted, scaled. Their probabilities are averaged.

Averaging over moved and mirrored views is as old as large networks (Krizhevsky et al. 2012, ten views of an image).
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from src.dataset import PIXEL_MEAN, PIXEL_STD

View = Callable[[Tensor], Tensor]  # float (n, 1, h, w), normalized, to the same shape
BLACK = -PIXEL_MEAN / PIXEL_STD  # of a normalized image; augmentation fills with it too
PIXELS = 2  # of a shift, and on each side of a scaled image


def identity(x: Tensor) -> Tensor:
    """The image itself."""
    return x


def mirrored(view: View) -> View:
    """The view, then left and right exchanged."""
    return lambda x: view(x).flip(-1)


def shifted(right: int, down: int) -> View:
    """Moved by so many pixels; what comes in is black."""
    pads = max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)

    def view(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        top, left = max(-down, 0), max(-right, 0)
        return F.pad(x, pads, value=BLACK)[..., top : top + height, left : left + width]

    return view


def scaled(pixels: int) -> View:
    """Enlarged by so many pixels on each side and cropped; below 0 reduced, with a black frame."""

    def view(x: Tensor) -> Tensor:
        size = [side + 2 * pixels for side in x.shape[-2:]]
        resized = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=pixels < 0)
        return F.pad(resized, [-pixels] * 4, value=BLACK)  # a negative pad crops

    return view


FIVE = (identity, *(shifted(x, y) for x, y in ((-PIXELS, 0), (PIXELS, 0), (0, -PIXELS), (0, PIXELS))))
SCALES = (identity, scaled(PIXELS), scaled(-PIXELS))
TTA_VIEWS: dict[str, tuple[View, ...]] = {
    "none": (identity,),
    "flip": (identity, mirrored(identity)),
    "five": FIVE,
    "ten": (*FIVE, *map(mirrored, FIVE)),
    "scales": (*SCALES, *map(mirrored, SCALES)),
}
