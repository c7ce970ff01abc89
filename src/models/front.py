"""What stands before a network that was made for other images than 48x48 faces: enlargement and normalisation."""

from torch import Tensor, nn
from torch.nn import functional as F

from src.dataset import PIXEL_MEAN, PIXEL_STD


def normalization_of(body: nn.Module) -> tuple[float, float]:
    """Mean and deviation that the network's published weights were trained with, of pixels in 0 … 1.

    They are given for red, green and blue; a gray image takes their means. The kit's own where nothing is published.
    """
    published = getattr(body, "pretrained_cfg", {})
    mean, std = published.get("mean", (PIXEL_MEAN,)), published.get("std", (PIXEL_STD,))
    return sum(mean) / len(mean), sum(std) / len(std)


class Front(nn.Module):
    """Faces (n, 1, h, w), normalised with train.csv's mean and deviation, as (n, 1, side, side) with others.

    Bilinear, on the device: the enlarged images never lie in memory beyond one batch.
    """

    def __init__(self, side: int, mean: float = PIXEL_MEAN, std: float = PIXEL_STD):
        super().__init__()
        self.side, self.gain, self.offset = side, PIXEL_STD / std, (PIXEL_MEAN - mean) / std

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) → (n, 1, side, side)."""
        if (self.gain, self.offset) != (1.0, 0.0):
            x = x * self.gain + self.offset
        if x.shape[-2:] == (self.side, self.side):
            return x
        return F.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False)
