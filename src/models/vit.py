"""The vision transformer of the reference notebooks (Dosovitskiy et al. 2021), as timm has it.

Input (n, 1, 224, 224), output (n, 7); 5,427,463 parameters (another image size changes the number). The notebooks feed
three equal channels; one channel with the first layer's weights summed over three gives the same response.
"""

from torch import nn

from src.models.registry import register
from src.models.timm_networks import timm_network


@register(image_size=224)
def vit(dropout: float | None = None, image_size: int = 224, drop_path: float = 0.0) -> nn.Module:
    """ViT-Tiny: 16x16 patches, 12 blocks of width 192 with 3 heads."""
    return timm_network("vit_tiny_patch16_224", dropout, image_size, drop_path)
