"""Any network of timm (Wightman 2019, https://github.com/huggingface/pytorch-image-models), by its name there.

Input (n, 1, size, size), output (n, 7). The networks have one input channel, since the images are gray: pretrained
first layers are summed over their three channels.
"""

import difflib

from torch import nn

from src.dataset import NUM_CLASSES
from src.errors import UserError

TIMM = "timm:"


def pretrained_image_size(name: str) -> int:
    """Pixels a side of the images that timm's weights were trained with. Raises UserError for an unknown name."""
    import timm  # here, not above: the import takes seconds, and most runs do not need it

    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5))
        hint = f"; near: {near}" if near else ""
        raise UserError(f"network={TIMM}{name}: timm {timm.__version__} has no such network{hint}")
    return timm.get_pretrained_cfg(name).input_size[-1]


def timm_network(
    name: str, dropout: float | None = None, image_size: int | None = None, drop_path: float = 0.0
) -> nn.Module:
    """timm's network of that name for gray images, with random initial weights.

    dropout: before the last layer; None: timm's default. image_size: pixels a side; None: that of timm's weights.
    drop_path: the rate of stochastic depth. Raises UserError for an unknown name, and for a size, a dropout or a
    stochastic depth that the network does not take.
    """
    import timm

    native = pretrained_image_size(name)
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    sizes = {"img_size": image_size} if fixed and image_size not in (None, native) else {}
    rates = {} if dropout is None else {"drop_rate": dropout}
    rates |= {"drop_path_rate": drop_path} if drop_path else {}
    try:
        return timm.create_model(name, in_chans=1, num_classes=NUM_CLASSES, **sizes, **rates)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"network={TIMM}{name}: timm cannot make it with {sizes | rates}: {error}") from None
