"""MobileViT (Mehta & Rastegari 2022), timm's: the final model of the reference notebooks.

Input (n, 1, 64, 64), enlarged from faces, output (n, 7); 952,983 parameters. It halves the side five times and cuts the
maps into patches of 2x2, so 64 is the first side that it takes without resizing its own maps.
"""

from torch import nn

from src.models.timm_network import timm_network


def mobilevit_xxs(dropout: float | None = None, side: int = 64) -> nn.Module:
    """MobileViT-XXS."""
    return timm_network("mobilevit_xxs", dropout, side)
