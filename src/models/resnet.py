"""ResNets (He et al. 2016), torchvision's own, with one input channel and seven classes.

Input (n, 1, 48, 48), output (n, 7). Parameters: 11,173,831 (18 layers), 21,281,991 (34), 23,516,103 (50). The `_48`
variants are for small images: their stem is a 3x3 convolution of stride 1 instead of a 7x7 one of stride 2, without
pooling, so that the maps are four times as wide. Parameters: 11,171,271 (18 layers), 21,279,431 (34).
"""

from torch import nn

from src.dataset import NUM_CLASSES
from src.models.registry import register

# What torchvision's weights were trained with and which layers differ from ours, under timm's keys.
NORMALIZATION = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PUBLISHED = NORMALIZATION | {"first_conv": "conv1", "classifier": "fc"}


def resnet(layers: int, dropout: float | None, small_images: bool) -> nn.Module:
    """torchvision's ResNet of that depth with one input channel, and dropout (default 0) before the last layer."""
    import torchvision  # here, not above: the import takes seconds, and most commands do not need it

    net = getattr(torchvision.models, f"resnet{layers}")(num_classes=NUM_CLASSES)
    kernel, stride = (3, 1) if small_images else (7, 2)
    net.conv1 = nn.Conv2d(1, 64, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    if small_images:
        net.maxpool = nn.Identity()
    not_pretrained = {"not_pretrained": ("conv1",)} if small_images else {}
    net.pretrained_cfg = PUBLISHED | not_pretrained | {"architecture": f"resnet{layers}"}
    net.fc = nn.Sequential(nn.Dropout(dropout or 0.0), net.fc)
    return net


@register()
def resnet18(dropout: float | None = None) -> nn.Module:
    """ResNet-18."""
    return resnet(18, dropout, small_images=False)


@register()
def resnet34(dropout: float | None = None) -> nn.Module:
    """ResNet-34."""
    return resnet(34, dropout, small_images=False)


@register()
def resnet50(dropout: float | None = None) -> nn.Module:
    """ResNet-50."""
    return resnet(50, dropout, small_images=False)


@register()
def resnet18_48(dropout: float | None = None) -> nn.Module:
    """ResNet-18 with the stem for small images."""
    return resnet(18, dropout, small_images=True)


@register()
def resnet34_48(dropout: float | None = None) -> nn.Module:
    """ResNet-34 with the stem for small images."""
    return resnet(34, dropout, small_images=True)
