"""What a network's input may become before its first layer: each image standardized, or its histogram equalized.

Both are a part of the network (`InputAdapter`), so that training, prediction and every reader of its weights do the
same. Images are float (n, 1, h, w), normalized with the dataset's mean and deviation.
"""

import torch
from torch import Tensor

from src.dataset import PIXEL_MEAN, PIXEL_STD

LEVELS = 256


def standardize(x: Tensor) -> Tensor:
    """Each image with mean 0 and deviation 1. A deviation below one gray level counts as one: a flat image is 0."""
    deviation = x.std((1, 2, 3), correction=0, keepdim=True).clamp(min=1 / (LEVELS - 1) / PIXEL_STD)
    return (x - x.mean((1, 2, 3), keepdim=True)) / deviation


def equalize(x: Tensor) -> Tensor:
    """Each image with its histogram equalized (Gonzalez & Woods, Digital Image Processing), normalized as before.

    A gray level becomes the fraction of the pixels that are at most as bright, from 0 for the darkest pixel to 1 for
    the brightest. An image of one gray level stays as it is.
    """
    pixels = (x * PIXEL_STD + PIXEL_MEAN).clamp(0, 1).flatten(1)
    levels = (pixels * (LEVELS - 1)).round().long()
    counts = torch.zeros(len(x), LEVELS, device=x.device).scatter_add_(1, levels, torch.ones_like(pixels))
    at_most = counts.cumsum(1)
    darkest = counts.gather(1, levels.amin(1, keepdim=True))
    rest = levels.shape[1] - darkest
    equalized = ((at_most - darkest) / rest.clamp(min=1)).gather(1, levels)
    equalized = torch.where(rest > 0, equalized, pixels)
    return ((equalized - PIXEL_MEAN) / PIXEL_STD).view_as(x)


PREPROCESSING = {"none": lambda x: x, "standardize": standardize, "equalize": equalize}
