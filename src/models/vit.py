"""The vision transformer of the reference notebooks (Dosovitskiy et al. 2021), timm's, light enough for 128 a batch.

Input (n, 1, 224, 224), enlarged from faces, output (n, 7); 5,427,463 parameters (another side changes them). The
notebooks feed three equal channels; the sum over the first layer's three gives the same response.
"""

from torch import nn

from src.models.timm_network import timm_network


def vit(dropout: float | None = None, side: int = 224) -> nn.Module:
    """ViT-Tiny: 16x16 patches, 12 blocks of width 192 with 3 heads."""
    return timm_network("vit_tiny_patch16_224", dropout, side)
