"""A compact CNN for 48x48 images and a small time budget: the network of the recipe `baseline`.

Input (n, 1, 48, 48), output (n, 7); 639,079 parameters. A 4x4 convolution of stride 2 halves the image size at once,
since the simple CNNs spend most of their time on maps of full size. 3x3 convolutions follow, each with batch norm and
ReLU (Simonyan & Zisserman 2015; Ioffe & Szegedy 2015). Global average pooling (Lin et al. 2014) replaces large fully
connected layers.
"""

from torch import nn

from src.models.layers import conv_norm_relu, pooled_head
from src.models.registry import register

WIDTHS = (32, 48, 96, 192)


@register()
def compact_cnn(dropout: float | None = None) -> nn.Sequential:
    """Stem 48→24, one convolution at 24, two at 12, two at 6, global average pooling, dropout .2, logits."""
    stem, first, second, third = WIDTHS
    layers = [*conv_norm_relu(1, stem, 4, 2), *conv_norm_relu(stem, first), nn.MaxPool2d(2)]
    for inputs, outputs, pool in ((first, second, True), (second, third, False)):
        layers += [*conv_norm_relu(inputs, outputs), *conv_norm_relu(outputs, outputs)]
        layers += [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(*layers, *pooled_head(third, 0.2 if dropout is None else dropout))
