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


def normalise(x: Tensor) -> Tensor:
    """Pixels in 0 … 1, less the mean of train.csv, over its deviation. Changes `x` in place."""
    return x.sub_(PIXEL_MEAN).div_(PIXEL_STD)


def plain(images: Tensor) -> Tensor:
    """uint8 images (n, 1, h, w) as normalised float32, not augmented."""
    return normalise(images.float().div_(255))


def augment(images: Tensor, how: Augment, generator: torch.Generator, side: int | None = None) -> Tensor:
    """Augmented, normalised faces, float32 (n, 1, h, w), or (n, 1, side, side).

    images: uint8 (n, 1, h, w), on the generator's device. The draws depend on the generator and n alone.
    """
    draws = torch.rand((13, len(images)), generator=generator, device=images.device)
    x = images.to(torch.float32, copy=True).div_(255)
    x = geometry(x, how, draws[:6], side)
    x = light(x, how, draws[6:8])
    return erase(normalise(x), how, draws[8:13])


def within(draw: Tensor, limit: float) -> Tensor:
    """A draw from [0, 1) spread over ± limit."""
    return (2 * draw - 1) * limit


def geometry(x: Tensor, how: Augment, draws: Tensor, side: int | None = None) -> Tensor:
    """Flip, then rotation, shear, scale and shift by one grid; what comes in from outside the image is black.

    x: float (n, 1, h, w); draws: (6, n) in [0, 1) for flip, rotation, shear, scale, shift in x, shift in y. side:
    of what comes out, in pixels, where it is not x's; half of x's or more: the grid takes four neighbours of a point.
    """
    flip, size = draws[0] < how.flip, [*x.shape[:2], side or x.shape[2], side or x.shape[3]]
    if size == list(x.shape) and not any((how.rotation, how.shift, how.scale, how.shear)):
        return torch.where(flip.view(-1, 1, 1, 1), x.flip(-1), x) if how.flip else x
    theta = sampling_matrix(
        rotation=within(draws[1], math.radians(how.rotation)),
        shear=within(draws[2], math.radians(how.shear)),
        scale=1 + within(draws[3], how.scale),
        shift=torch.stack([within(draws[4], 2 * how.shift), within(draws[5], 2 * how.shift)], 1),
        flip=flip,
    )
    grid = F.affine_grid(theta, size, align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def sampling_matrix(rotation: Tensor, shear: Tensor, scale: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
    """For each image the matrix (n, 2, 3) that takes a point of the result to the point of the source it shows.

    rotation and shear in radians (n,), scale (n,), shift (n, 2) as x and y in half sides, flip bool (n,). The
    conventions are those of torchvision's `affine`: it is the inverse of shift · rotation · shear · scale. For square
    images: in half sides, a rotation of others would also shear.
    """
    cos, sin, tan = rotation.cos(), rotation.sin(), shear.tan()
    forward = torch.stack([cos, -cos * tan - sin, sin, cos - sin * tan], 1).view(-1, 2, 2)
    a, b, c, d = forward.flatten(1).unbind(1)  # determinant 1: the inverse is the adjugate
    inverse = torch.stack([d, -b, -c, a], 1).view(-1, 2, 2) / scale.view(-1, 1, 1)
    theta = torch.cat([inverse, -inverse @ shift.unsqueeze(2)], 2)
    mirror = torch.ones_like(theta)
    mirror[:, 0] = torch.where(flip, -1.0, 1.0).unsqueeze(1)
    return theta * mirror


def light(x: Tensor, how: Augment, draws: Tensor) -> Tensor:
    """Brightness (a factor), then contrast (a factor on the distance to the image's mean), kept within 0 … 1.

    x: float (n, 1, h, w) in 0 … 1; draws: (2, n) for brightness and contrast.
    """
    if not how.brightness and not how.contrast:
        return x
    bright, strong = (
        1 + within(d, limit).view(-1, 1, 1, 1) for d, limit in zip(draws, (how.brightness, how.contrast), strict=True)
    )
    x = (x * bright).clamp_(0, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    return ((x - mean) * strong + mean).clamp_(0, 1)


def erase(x: Tensor, how: Augment, draws: Tensor) -> Tensor:
    """A rectangle set to 0, the mean grey: 2-33 % of the area, sides in the ratio 0.3-3.3 (Zhong et al. 2020).

    x: normalised, float (n, 1, h, w); draws: (5, n) for whether at all, area, ratio, place down, place across.
    """
    if not how.erase:
        return x
    height, width = x.shape[-2:]
    area = 0.02 + 0.31 * draws[1]
    ratio = torch.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * draws[2])
    down = between((area * ratio).sqrt() * height, draws[3], height)
    across = between((area / ratio).sqrt() * width, draws[4], width)
    hit = (draws[0] < how.erase).view(-1, 1, 1) & down.unsqueeze(2) & across.unsqueeze(1)
    return x.masked_fill(hit.unsqueeze(1), 0.0)


def between(length: Tensor, draw: Tensor, side: int) -> Tensor:
    """bool (n, side): a run of `length` pixels (at most the side), placed by a draw from [0, 1)."""
    length = length.round().clamp(1, side)
    start = (draw * (side - length + 1)).floor()
    at = torch.arange(side, device=draw.device)
    return (at >= start.unsqueeze(1)) & (at < (start + length).unsqueeze(1))
