"""Layers that several families share."""

from torch import nn

from src.dataset import NUM_CLASSES


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Convolution without bias, batch norm (Ioffe & Szegedy 2015)."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False), nn.BatchNorm2d(outputs)]


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Convolution without bias, batch norm, ReLU."""
    return [*conv_norm(inputs, outputs, kernel, stride), nn.ReLU(inplace=True)]


def pooled_head(inputs: int, dropout: float) -> list[nn.Module]:
    """Maps (n, inputs, h, w) → logits (n, 7): global average pooling (Lin et al. 2014), dropout, a linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(inputs, NUM_CLASSES)]
