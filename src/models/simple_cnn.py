"""The simple CNNs of the reference notebooks: one or two convolutions and two fully connected layers.

Input (n, 1, 48, 48), output (n, 7). Parameters: v0 4,720,263; v1 1,232,775; v2 1,232,967.
"""

from torch import nn


def block(inputs: int, outputs: int, kernel: int, norm: bool) -> list[nn.Module]:
    """Convolution at full size, batch norm if asked for, ReLU, and a pooling that halves the side.

    The pooling stands before the ReLU: both orders give the same numbers, since ReLU is monotone, and this one has a
    quarter of the elements to rectify.
    """
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)]
    layers += [nn.BatchNorm2d(outputs)] if norm else []
    return [*layers, nn.MaxPool2d(2), nn.ReLU(inplace=True)]


def simple_cnn(
    widths: tuple[int, ...], kernel: int, norm: bool, dropout: float, zeros: bool = True, first: bool = True
) -> nn.Sequential:
    """A block a width, then hidden layer of 128 and 7 logits, with dropout before each of the two if it is not 0.

    For an experiment. zeros: whether the last layer starts at zero. first: whether dropout stands before the hidden
    layer too.
    """
    inputs, side = (1, *widths), 48 // 2 ** len(widths)
    layers = [layer for i, o in zip(inputs, widths, strict=False) for layer in block(i, o, kernel, norm)]
    hidden = [nn.Flatten(), nn.Linear(widths[-1] * side**2, 128), nn.ReLU(inplace=True)]
    last = nn.Linear(128, 7)
    return nn.Sequential(
        *layers, *(drop(dropout) if first else []), *hidden, *drop(dropout), unbiased(last) if zeros else last
    )


def unbiased(last: nn.Linear) -> nn.Linear:
    """The last layer with all weights 0, so that training begins with equal probabilities.

    With torch's own start, Adam's first steps push the hidden units the same way, to quiet random logits, and since
    their inputs are all positive they never come back: 119 of v2's 128 were dead after two epochs on 6,000 faces, and
    50 with this start (benchmarks/dead_units.py).
    """
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return last


def drop(rate: float) -> list[nn.Module]:
    """A dropout, or nothing for rate 0."""
    return [nn.Dropout(rate)] if rate else []


def simple_cnn_v0(dropout: float | None = None) -> nn.Sequential:
    """Conv3x3 1→64, ReLU, pool, FC 36864→128, ReLU, FC 128→7."""
    return simple_cnn((64,), 3, norm=False, dropout=dropout or 0.0)


def simple_cnn_v1(dropout: float | None = None) -> nn.Sequential:
    """Conv5x5 32, ReLU, pool, Conv5x5 64, ReLU, pool, dropout .3, FC 9216→128, ReLU, dropout .3, FC 7."""
    return simple_cnn((32, 64), 5, norm=False, dropout=0.3 if dropout is None else dropout)


def simple_cnn_v2(dropout: float | None = None) -> nn.Sequential:
    """v1 with batch norm after each convolution, before the ReLU, and dropout .4."""
    return simple_cnn((32, 64), 5, norm=True, dropout=0.4 if dropout is None else dropout)


def simple_cnn_v0_own(dropout: float | None = None) -> nn.Sequential:
    """v0 with torch's own start of the last layer."""
    return simple_cnn((64,), 3, norm=False, dropout=dropout or 0.0, zeros=False)


def simple_cnn_v1_own(dropout: float | None = None) -> nn.Sequential:
    """v1 with torch's own start of the last layer."""
    return simple_cnn((32, 64), 5, norm=False, dropout=0.3 if dropout is None else dropout, zeros=False)


def simple_cnn_v1_late(dropout: float | None = None) -> nn.Sequential:
    """v1 with dropout before the last layer alone."""
    return simple_cnn((32, 64), 5, norm=False, dropout=0.3 if dropout is None else dropout, first=False)


def simple_cnn_v1_own_late(dropout: float | None = None) -> nn.Sequential:
    """v1 with torch's own start of the last layer and dropout before it alone."""
    return simple_cnn((32, 64), 5, norm=False, dropout=0.3 if dropout is None else dropout, zeros=False, first=False)


def simple_cnn_v2_own(dropout: float | None = None) -> nn.Sequential:
    """v2 with torch's own start of the last layer."""
    return simple_cnn((32, 64), 5, norm=True, dropout=0.4 if dropout is None else dropout, zeros=False)
