"""MobileViT (Mehta & Rastegari 2022), as timm has it: the final model of the reference notebooks.

Input (n, 1, 64, 64), output (n, 7); 952,983 parameters. The network halves the image size five times and cuts the maps
into patches of 2x2, so 64 is the smallest size at which it need not resize its own maps.
"""

from torch import nn

from src.models.registry import register
from src.models.timm_networks import timm_network


@register(image_size=64)
def mobilevit_xxs(dropout: float | None = None, image_size: int = 64, drop_path: float = 0.0) -> nn.Module:
    """MobileViT-XXS."""
    return timm_network("mobilevit_xxs", dropout, image_size, drop_path)
