"""The spatial attention of CBAM (Woo et al. 2018): the weight that a network gives to each position of its maps."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.models.attention_cnn import CBAM
from src.models.watching import in_evaluation, watched


@torch.no_grad()
def spatial_attention(net: nn.Module, x: Tensor) -> dict[int, Tensor]:
    """Side of the maps in pixels → the weights, float32 (n, h, w) from 0 to 1, resized to the images.

    x: as the network takes it, float (n, 1, h, w). Empty for a network without CBAM.
    """
    found, convolutions = {}, {module.conv for module in net.modules() if isinstance(module, CBAM)}

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if module in convolutions:
            found[output.shape[-1]] = output.float().sigmoid()

    if convolutions:
        with in_evaluation(net), watched(net, None, keep):
            net(x)
    sizes = {"size": x.shape[-2:], "mode": "bilinear", "align_corners": False}
    return {side: F.interpolate(maps, **sizes).squeeze(1) for side, maps in found.items()}
