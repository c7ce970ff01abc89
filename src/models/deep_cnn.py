"""The deep CNNs of the reference notebooks: four convolutions, global average pooling, two fully connected layers.

Input (n, 1, 48, 48), output (n, 7). Parameters: v1 524,999; v2 (also of v3) 366,599.
"""

from torch import nn

from src.dataset import NUM_CLASSES
from src.models.registry import register
from src.models.simple_cnn import block


def deep_cnn(widths: tuple[int, ...], hidden: int, early_dropout: float, dropout: float) -> nn.Sequential:
    """A block per width, Dropout2d after each but the last two, global average pooling (Lin et al. 2014), the head."""
    layers = []
    for number, (inputs, outputs) in enumerate(zip((1, *widths), widths, strict=False)):
        layers += block(inputs, outputs, kernel=3, norm=True)
        layers += [nn.Dropout2d(early_dropout)] if early_dropout and number < len(widths) - 2 else []
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    head = [nn.Linear(widths[-1], hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers, *pool, *head, nn.Linear(hidden, NUM_CLASSES))


@register()
def deep_cnn_v1(dropout: float | None = None) -> nn.Sequential:
    """Blocks of 32, 64, 128, 256; FC 512 with batch norm, dropout .5, FC 7."""
    return deep_cnn((32, 64, 128, 256), 512, early_dropout=0.0, dropout=0.5 if dropout is None else dropout)


@register()
def deep_cnn_v2(dropout: float | None = None) -> nn.Sequential:
    """v1 with Dropout2d .1 after the first two blocks, a last block of 192, FC 256, dropout .7."""
    return deep_cnn((32, 64, 128, 192), 256, early_dropout=0.1, dropout=0.7 if dropout is None else dropout)
