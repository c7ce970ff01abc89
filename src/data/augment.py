"""From stored pixels to what a network sees: normalisation, and augmentation as tensor operations on a whole batch.

Library transforms draw one set of parameters for a batch; here every image draws its own, and rotation, scale, shear,
shift and flip are one affine grid, so that an image is resampled once.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from src.config import Augment
from src.dataset import PIXEL_MEAN, PIXEL_STD


def normalize(x: Tensor) -> Tensor:
    """Subtracts the mean of train.csv from pixels in 0 … 1 and divides by its deviation, in place."""
    return x.sub_(PIXEL_MEAN).div_(PIXEL_STD)


def preprocess(images: Tensor) -> Tensor:
    """uint8 images (n, 1, h, w) as normalized float32, not augmented."""
    return normalize(images.float().div_(255))


def augment(images: Tensor, settings: Augment, generator: torch.Generator, image_size: int | None = None) -> Tensor:
    """Augmented, normalized faces: uint8 (n, 1, h, w) → float32 (n, 1, h, w) or (n, 1, image_size, image_size).

    The generator is on the images' device. The draws depend on it, on n, and on whether there is a crop.
    """
    draws = torch.rand((13, len(images)), generator=generator, device=images.device)
    of_geometry = draws[:6]
    if settings.resized_crop:
        crop = torch.rand((4, len(images)), generator=generator, device=images.device)
        of_geometry = torch.cat([of_geometry, crop])
    x = images.to(torch.float32, copy=True).div_(255)
    x = geometry(x, settings, of_geometry, image_size)
    x = color_jitter(x, settings, draws[6:8])
    return erase(normalize(x), settings, draws[8:13])


def spread(draw: Tensor, limit: float | Tensor) -> Tensor:
    """A draw from [0, 1) spread over ± limit."""
    return (2 * draw - 1) * limit


def geometry(x: Tensor, settings: Augment, draws: Tensor, image_size: int | None = None) -> Tensor:
    """Flip, then rotation, shear, scale, shift and crop by one grid; pixels from outside the image are black.

    x: float (n, 1, h, w); draws: (6, n) in [0, 1) for flip, rotation, shear, scale, shift in x, shift in y; and four
    more for `resized_crop`, if it is on. image_size: the result's side in pixels, None for x's own. It should be at
    least half of x's: the grid reads four neighbours.
    """
    flip = draws[0] < settings.flip
    shape = [*x.shape[:2], image_size or x.shape[2], image_size or x.shape[3]]
    moves = settings.rotation, settings.shift, settings.scale, settings.shear, settings.resized_crop
    if shape == list(x.shape) and not any(moves):
        return torch.where(flip.view(-1, 1, 1, 1), x.flip(-1), x) if settings.flip else x
    rotation, shear = spread(draws[1], math.radians(settings.rotation)), spread(draws[2], math.radians(settings.shear))
    scale, shift = 1 + spread(draws[3], settings.scale), spread(draws[4:6].T, 2 * settings.shift)
    theta = sampling_matrix(rotation, shear, scale, shift, flip)
    if settings.resized_crop:
        theta = cropped(theta, settings.resized_crop, draws[6:10])
    grid = F.affine_grid(theta, shape, align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def sampling_matrix(rotation: Tensor, shear: Tensor, scale: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
    """Matrices (n, 2, 3) that map each point of the result to its point of the source, as torchvision's `affine` does.

    rotation and shear in radians (n,), scale (n,), shift (n, 2) as x and y in half sides, flip bool (n,). It is the
    inverse of shift · rotation · shear · scale, for square images.
    """
    cos, sin, tan = rotation.cos(), rotation.sin(), shear.tan()
    forward = torch.stack([cos, -cos * tan - sin, sin, cos - sin * tan], 1).view(-1, 2, 2)
    a, b, c, d = forward.flatten(1).unbind(1)  # determinant 1: the inverse is the adjugate
    inverse = torch.stack([d, -b, -c, a], 1).view(-1, 2, 2) / scale.view(-1, 1, 1)
    theta = torch.cat([inverse, -inverse @ shift.unsqueeze(2)], 2)
    theta[:, 0] *= torch.where(flip, -1.0, 1.0).unsqueeze(1)
    return theta


def cropped(theta: Tensor, smallest: float, draws: Tensor) -> Tensor:
    """Sampling matrices (n, 2, 3) that enlarge a random part of the result to its whole (Szegedy et al. 2015).

    The part has an area of `smallest` to 1 of the image's and a ratio of width to height of 3/4 to 4/3, or less where
    it would not lie within the image. draws: (4, n) in [0, 1) for area, ratio, and place in x and y.
    """
    area = smallest + (1 - smallest) * draws[0]
    ratio = torch.exp(spread(draws[1], (-area.log()).clamp(max=math.log(4 / 3))))
    size = torch.stack([area * ratio, area / ratio], 1).sqrt()
    centre = (2 * draws[2:4].T - 1) * (1 - size)
    moved = theta[:, :, 2:] + theta[:, :, :2] @ centre.unsqueeze(2)
    return torch.cat([theta[:, :, :2] * size.unsqueeze(1), moved], 2)


def color_jitter(x: Tensor, settings: Augment, draws: Tensor) -> Tensor:
    """Brightness (a factor), then contrast (a factor on the distance to the image's mean), clamped to 0 … 1.

    x: float (n, 1, h, w) in 0 … 1; draws: (2, n) for brightness and contrast.
    """
    if not settings.brightness and not settings.contrast:
        return x
    limits = settings.brightness, settings.contrast
    brightness, contrast = (
        1 + spread(draw, limit).view(-1, 1, 1, 1) for draw, limit in zip(draws, limits, strict=True)
    )
    x = (x * brightness).clamp_(0, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    return ((x - mean) * contrast + mean).clamp_(0, 1)


def erase(x: Tensor, settings: Augment, draws: Tensor) -> Tensor:
    """Random erasing (Zhong et al. 2020): sets a rectangle to 0, the mean gray.

    Its area is 0.02 to `erase_max_area` of the image's, its ratio of height to width 0.3 to 3.3. A side that is longer
    than the image's is cut.
    x: normalized, float (n, 1, h, w); draws: (5, n) for whether, area, ratio, row, column.
    """
    if not settings.erase:
        return x
    height, width = x.shape[-2:]
    area = 0.02 + (settings.erase_max_area - 0.02) * draws[1]
    ratio = torch.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * draws[2])
    down = random_run((area * ratio).sqrt() * height, draws[3], height)
    across = random_run((area / ratio).sqrt() * width, draws[4], width)
    hit = (draws[0] < settings.erase).view(-1, 1, 1) & down.unsqueeze(2) & across.unsqueeze(1)
    return x.masked_fill(hit.unsqueeze(1), 0.0)


def random_run(length: Tensor, draw: Tensor, side: int) -> Tensor:
    """bool (n, side): a run of `length` pixels (at most the side), placed by a draw from [0, 1)."""
    length = length.round().clamp(1, side)
    start = (draw * (side - length + 1)).floor()
    at = torch.arange(side, device=draw.device)
    return (at >= start.unsqueeze(1)) & (at < (start + length).unsqueeze(1))
