"""Probabilities from a trained network, averaged over views of each image."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.data.augment import preprocess
from src.train.device import out_of_memory
from src.train.precision import Precision

VIEWS = {
    "none": (lambda x: x,),
    "flip": (lambda x: x, lambda x: x.flip(-1)),
}


@torch.inference_mode()
def probabilities(
    net: nn.Module,
    images: Tensor,
    views: str,
    precision: Precision,
    batch: int = 512,
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """Class probabilities, float32 (n, 7) on the images' device; the mean over the views ("none", or "flip").

    images: uint8 (n, 1, 48, 48). The network is put into evaluation mode. `between` is called after each batch; a batch
    that does not fit into memory is halved.
    """
    net.eval()
    found, at = [], 0
    while at < len(images):
        try:
            found.append(mean_over_views(net, preprocess(images[at : at + batch]), views, precision))
        except RuntimeError as error:
            if not out_of_memory(error) or batch == 1:
                raise
            batch = max(1, batch // 2)
            continue
        at += batch
        between()
    return torch.cat(found)


def mean_over_views(net: nn.Module, x: Tensor, views: str, precision: Precision) -> Tensor:
    """The mean of the softmax over the views of one batch, float32 (b, 7)."""
    with precision.autocast():
        logits = [net(view(x)) for view in VIEWS[views]]
    return torch.stack([out.float().softmax(1) for out in logits]).mean(0)
