"""Residual networks with squeeze-and-excitation for 48x48 faces, in two sizes.

Input (n, 1, 48, 48), output (n, 7). Parameters: 1,535,047 (s), 7,833,495 (l). Two 3x3 convolutions and a shortcut
make a block (He et al. 2016); squeeze-and-excitation weights its channels (Hu et al. 2018). As in ResNet-D
(He et al. 2019), the shortcut averages 2x2 pixels before its 1x1 convolution: one of stride 2 would ignore three of
four pixels. The last batch norm of a branch starts at 1: with 0 (Goyal et al. 2017) these shallow networks learn much
more slowly. Stochastic depth (Huang et al. 2016) drops branches in training, later ones more often.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from src.models.layers import conv_norm, conv_norm_relu, pooled_head
from src.models.registry import register

DROPOUT, REDUCTION, NARROWEST = 0.2, 16, 8


class Block(nn.Module):
    """Maps (n, inputs, h, w) → (n, outputs, h / stride, w / stride). drop_path: the branch's probability of 0."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop_path: float):
        from torchvision.ops import SqueezeExcitation, StochasticDepth  # the import takes seconds

        super().__init__()
        self.branch = nn.Sequential(*conv_norm_relu(inputs, outputs, 3, stride), *conv_norm(outputs, outputs))
        self.excitation = SqueezeExcitation(outputs, max(NARROWEST, outputs // REDUCTION))
        self.drop_path = StochasticDepth(drop_path, mode="row")
        pool = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []  # an odd side too
        changes = inputs != outputs or stride > 1
        self.shortcut = nn.Sequential(*pool, *conv_norm(inputs, outputs, 1)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The branch plus the shortcut, then ReLU."""
        return F.relu(self.drop_path(self.excitation(self.branch(x))) + self.shortcut(x), inplace=True)


@dataclass(frozen=True)
class Size:
    """The stem's widths and the stride of its first convolution; each stage's width and number of blocks."""

    stem: tuple[int, ...]
    stem_stride: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]


def face_resnet(size: Size, dropout: float | None, drop_path: float) -> nn.Sequential:
    """A network of that size. drop_path: the last block's probability; it rises from 0 in equal steps."""
    layers, inputs = [], 1
    for width in size.stem:
        kernel, stride = (4, 2) if inputs == 1 and size.stem_stride == 2 else (3, 1)
        layers += conv_norm_relu(inputs, width, kernel, stride)
        inputs = width
    first = len(layers)
    for stage, (width, blocks) in enumerate(zip(size.widths, size.blocks, strict=True)):
        for block in range(blocks):
            probability = drop_path * (len(layers) - first) / (sum(size.blocks) - 1)
            layers.append(Block(inputs, width, 2 if stage and not block else 1, probability))
            inputs = width
    return nn.Sequential(*layers, *pooled_head(inputs, DROPOUT if dropout is None else dropout))


@register()
def face_resnet_s(dropout: float | None = None, drop_path: float = 0.0) -> nn.Sequential:
    """Five blocks of 48 to 192 channels, maps of 24, 12 and 6 pixels a side: for an hour on a CPU."""
    return face_resnet(Size((48,), 2, (48, 96, 192), (1, 2, 2)), dropout, drop_path)


@register()
def face_resnet_l(dropout: float | None = None, drop_path: float = 0.0) -> nn.Sequential:
    """Eight blocks of 64 to 384 channels, maps of 48, 24, 12 and 6 pixels a side: for a GPU."""
    return face_resnet(Size((32, 32, 64), 1, (64, 128, 256, 384), (2, 2, 2, 2)), dropout, drop_path)
