"""Plain 3x3 CNNs for 48x48 faces, after VGG (Simonyan & Zisserman 2015), in two sizes.

Input (n, 1, 48, 48), output (n, 7). Parameters: 1,174,439 (m), 4,689,735 (l). Each convolution has batch norm and ReLU;
four stages of two convolutions, on maps of 48, 24, 12 and 6 pixels a side, with max pooling between them; global
average pooling replaces VGG's fully connected layers.
"""

from torch import nn

from src.models.layers import conv_norm_relu, pooled_head
from src.models.registry import register

DROPOUT = 0.3


def face_vgg(widths: tuple[int, ...], dropout: float | None) -> nn.Sequential:
    """A network with two convolutions of each width."""
    layers, inputs = [], 1
    for number, width in enumerate(widths):
        layers += [nn.MaxPool2d(2)] if number else []
        layers += conv_norm_relu(inputs, width, 3) + conv_norm_relu(width, width, 3)
        inputs = width
    return nn.Sequential(*layers, *pooled_head(inputs, DROPOUT if dropout is None else dropout))


@register()
def face_vgg_m(dropout: float | None = None) -> nn.Sequential:
    """Widths of 32 to 256 channels: for a CPU."""
    return face_vgg((32, 64, 128, 256), dropout)


@register()
def face_vgg_l(dropout: float | None = None) -> nn.Sequential:
    """Widths of 64 to 512 channels: for a GPU."""
    return face_vgg((64, 128, 256, 512), dropout)
