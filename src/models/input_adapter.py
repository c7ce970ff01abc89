"""Preprocesses, renormalizes and resizes the input of a network."""

from torch import Tensor, nn
from torch.nn import functional as F

from src.dataset import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD
from src.models.preprocessing import PREPROCESSING


def published_normalization(body: nn.Module) -> tuple[float, float]:
    """Mean and deviation, for pixels scaled to 0-1, with which the network's published weights were trained.

    They are published for red, green and blue; gray images take their means. Where nothing is published: the dataset's.
    """
    published = getattr(body, "pretrained_cfg", {})
    mean, std = published.get("mean", (PIXEL_MEAN,)), published.get("std", (PIXEL_STD,))
    return sum(mean) / len(mean), sum(std) / len(std)


def normalization_of(body: nn.Module, setting: str) -> tuple[float, float]:
    """Mean and deviation of the network's input, for pixels scaled to 0-1, by the setting `normalization`."""
    return published_normalization(body) if setting == "pretrained" else (PIXEL_MEAN, PIXEL_STD)


class InputAdapter(nn.Module):
    """Turns images (n, 1, 48, 48), normalized by the dataset's mean and deviation, into (n, 1, size, size) with others.

    Smaller images, as of progressive resizing, become smaller in the same ratio. It resizes bilinearly
    on the device, one batch at a time, so that the data stays in memory at its own size.
    preprocessing: a name in PREPROCESSING, for what happens before that.
    """

    def __init__(self, image_size: int, mean: float = PIXEL_MEAN, std: float = PIXEL_STD, preprocessing: str = "none"):
        super().__init__()
        self.preprocess = PREPROCESSING[preprocessing]
        self.image_size, self.gain, self.offset = image_size, PIXEL_STD / std, (PIXEL_MEAN - mean) / std

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, 48, 48) → (n, 1, image_size, image_size); smaller sides in the same ratio."""
        x = self.preprocess(x)
        if (self.gain, self.offset) != (1.0, 0.0):
            x = x * self.gain + self.offset
        size = [self.image_size * min(side, IMAGE_SIZE) // IMAGE_SIZE for side in x.shape[-2:]]
        return x if list(x.shape[-2:]) == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
