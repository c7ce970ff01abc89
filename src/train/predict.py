"""Probabilities from a trained network, averaged over views of each image."""

import torch
from torch import Tensor, nn

from src.data.augment import plain
from src.train.precision import Precision

VIEWS = {
    "plain": (lambda x: x,),
    "flip": (lambda x: x, lambda x: x.flip(-1)),
}


@torch.inference_mode()
def probabilities(net: nn.Module, images: Tensor, views: str, precision: Precision, batch: int = 512) -> Tensor:
    """Class probabilities, float32 (n, 7) on the images' device; the mean over the views ("plain", or "flip").

    images: uint8 (n, 1, 48, 48). The network is put into evaluation mode.
    """
    net.eval()
    return torch.cat([mean_over_views(net, plain(x), views, precision) for x in images.split(batch)])


def mean_over_views(net: nn.Module, x: Tensor, views: str, precision: Precision) -> Tensor:
    """The mean of the softmax over the views of one batch, float32 (b, 7)."""
    with precision.autocast():
        logits = [net(view(x)) for view in VIEWS[views]]
    return torch.stack([out.float().softmax(1) for out in logits]).mean(0)
