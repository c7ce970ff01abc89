"""Plain 3x3 CNNs for 48x48 faces, after VGG (Simonyan & Zisserman 2015), in three sizes.

Input (n, 1, 48, 48), output (n, 7). Parameters: 659,911 (s), 1,174,439 (m), 4,689,735 (l). Each convolution has batch
norm and ReLU; stages end with max pooling of stride 2; global average pooling replaces VGG's fully connected layers.
The stem of s is a 4x4 convolution of stride 2, since maps of full size cost a CPU a quarter more time.
"""

from torch import nn

from src.models.layers import conv_norm_relu, pooled_head
from src.models.registry import register

DROPOUT = 0.3


def face_vgg(stages: tuple[tuple[int, ...], ...], stem_stride: int, dropout: float | None) -> nn.Sequential:
    """A network of one tuple of widths for each stage. stem_stride: 1 or 2, of the first convolution."""
    layers, inputs = [], 1
    for number, widths in enumerate(stages):
        layers += [nn.MaxPool2d(2)] if number else []
        for width in widths:
            kernel, stride = (4, 2) if inputs == 1 and stem_stride == 2 else (3, 1)
            layers += conv_norm_relu(inputs, width, kernel, stride)
            inputs = width
    return nn.Sequential(*layers, *pooled_head(inputs, DROPOUT if dropout is None else dropout))


@register()
def face_vgg_s(dropout: float | None = None) -> nn.Sequential:
    """Seven convolutions, 32 to 192 channels, maps of 24, 12 and 6 pixels a side: for short experiments."""
    return face_vgg(((32, 48, 48), (96, 96), (192, 192)), 2, dropout)


@register()
def face_vgg_m(dropout: float | None = None) -> nn.Sequential:
    """Eight convolutions, 32 to 256 channels, maps of 48, 24, 12 and 6 pixels a side: for an hour on a CPU."""
    return face_vgg(((32, 32), (64, 64), (128, 128), (256, 256)), 1, dropout)


@register()
def face_vgg_l(dropout: float | None = None) -> nn.Sequential:
    """Eight convolutions, 64 to 512 channels, maps of 48, 24, 12 and 6 pixels a side: for a GPU."""
    return face_vgg(((64, 64), (128, 128), (256, 256), (512, 512)), 1, dropout)
