"""Class probabilities from a trained network, with test-time augmentation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.data.augment import preprocess
from src.dataset import NUM_CLASSES
from src.train.device import is_out_of_memory
from src.train.precision import Precision
from src.train.tta import TTA_VIEWS


@torch.inference_mode()
def probabilities(
    net: nn.Module,
    images: Tensor,
    tta: str,
    precision: Precision,
    batch_size: int = 512,
    on_batch_end: Callable[[], None] = lambda: None,
) -> Tensor:
    """Class probabilities, float32 (n, 7) on the images' device: the mean over the views of `tta`, a key of TTA_VIEWS.

    images: uint8 (n, 1, 48, 48). Puts the network into evaluation mode. Halves batches that do not fit into memory.
    """
    net.eval()
    found, at = [torch.empty(0, NUM_CLASSES, device=images.device)], 0
    while at < len(images):
        try:
            x = preprocess(images[at : at + batch_size])
            with precision.autocast():
                logits = [net(view(x)) for view in TTA_VIEWS[tta]]
            found.append(torch.stack([out.float().softmax(1) for out in logits]).mean(0))
        except RuntimeError as error:
            if not is_out_of_memory(error) or batch_size == 1:
                raise
            batch_size = max(1, batch_size // 2)
            continue
        at += batch_size
        on_batch_end()
    return torch.cat(found)
