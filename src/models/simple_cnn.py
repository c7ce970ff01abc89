"""The simple CNNs of the reference notebooks: one or two convolutions and two fully connected layers.

Input (n, 1, 48, 48), output (n, 7). Parameters: v0 4,720,263; v1 1,232,775; v2 1,232,967.
"""

from torch import nn

from src.dataset import IMAGE_SIZE, NUM_CLASSES
from src.models.registry import register


def block(inputs: int, outputs: int, kernel: int, norm: bool) -> list[nn.Module]:
    """Convolution, batch norm if `norm`, ReLU, and a pooling that halves the map size."""
    # Pooling before ReLU gives the same numbers, since ReLU is monotone, and leaves a quarter of the elements to it.
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)]
    layers += [nn.BatchNorm2d(outputs)] if norm else []
    return [*layers, nn.MaxPool2d(2), nn.ReLU(inplace=True)]


def simple_cnn(widths: tuple[int, ...], kernel: int, norm: bool, dropout: float) -> nn.Sequential:
    """A block per width, a hidden layer of 128 and the logits, with dropout before each of the two if it is not 0."""
    inputs, map_size = (1, *widths), IMAGE_SIZE // 2 ** len(widths)
    layers = [layer for i, o in zip(inputs, widths, strict=False) for layer in block(i, o, kernel, norm)]
    hidden = [nn.Flatten(), nn.Linear(widths[-1] * map_size**2, 128), nn.ReLU(inplace=True)]
    last = nn.Linear(128, NUM_CLASSES)
    # Zeros, so that training starts with equal probabilities. With torch's own initial weights, Adam's first steps push
    # all hidden units in the same direction, to quiet random logits. Since their inputs are all positive, they never
    # recover: 119 of v2's 128 units were dead after two epochs on 6,000 images, and 50 with zeros (LOG.md).
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, *drop(dropout), *hidden, *drop(dropout), last)


def drop(dropout: float) -> list[nn.Module]:
    """A dropout, or nothing for 0."""
    return [nn.Dropout(dropout)] if dropout else []


@register()
def simple_cnn_v0(dropout: float | None = None) -> nn.Sequential:
    """Conv3x3 1→64, ReLU, pool, FC 36864→128, ReLU, FC 128→7."""
    return simple_cnn((64,), 3, norm=False, dropout=dropout or 0.0)


@register()
def simple_cnn_v1(dropout: float | None = None) -> nn.Sequential:
    """Conv5x5 32, ReLU, pool, Conv5x5 64, ReLU, pool, dropout .3, FC 9216→128, ReLU, dropout .3, FC 7."""
    return simple_cnn((32, 64), 5, norm=False, dropout=0.3 if dropout is None else dropout)


@register()
def simple_cnn_v2(dropout: float | None = None) -> nn.Sequential:
    """v1 with batch norm after each convolution, before the ReLU, and dropout .4."""
    return simple_cnn((32, 64), 5, norm=True, dropout=0.4 if dropout is None else dropout)
