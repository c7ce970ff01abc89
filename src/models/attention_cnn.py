"""The attention CNN of the reference notebooks: three pairs of convolutions, each followed by CBAM.

Input (n, 1, 48, 48), output (n, 7); 325,886 parameters. CBAM is the Convolutional Block Attention Module of Woo et al.
(ECCV 2018): what to look at (channels), then where (positions).
"""

import torch
from torch import Tensor, nn

from src.dataset import NUM_CLASSES
from src.models.registry import register

WIDTHS = (32, 64, 128)


class CBAM(nn.Module):
    """Channel attention, then spatial attention; each multiplies the maps with weights between 0 and 1.

    Channels: σ(MLP(average over positions) + MLP(maximum over positions)), with one MLP for both. Positions: σ(7x7
    convolution over [mean over channels, maximum over channels]).
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        narrow = channels // reduction
        self.mlp = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(inplace=True), nn.Linear(narrow, channels))
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) → (n, c, h, w)."""
        x = x * (self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))).sigmoid()[:, :, None, None]
        return x * self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


def block(inputs: int, outputs: int) -> list[nn.Module]:
    """(Convolution 3x3, batch norm, ReLU) twice, a pooling that halves the map size, CBAM."""
    layers = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return [*layers, nn.MaxPool2d(2), CBAM(outputs)]


@register()
def attention_cnn(dropout: float | None = None) -> nn.Sequential:
    """Blocks of 32, 64, 128, global average pooling, FC 128→256 with batch norm, ReLU, dropout .5, FC 7."""
    layers = [layer for i, o in zip((1, *WIDTHS), WIDTHS, strict=False) for layer in block(i, o)]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    dropout = 0.5 if dropout is None else dropout
    head = [nn.Linear(WIDTHS[-1], 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers, *pool, *head, nn.Linear(256, NUM_CLASSES))
