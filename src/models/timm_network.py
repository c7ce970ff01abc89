"""Any network of timm (Wightman 2019, https://github.com/huggingface/pytorch-image-models), by its name there.

Input (n, 1, side, side), output (n, 7): one input channel, seven classes, the rest as timm has it. The faces are gray,
so one channel says all that three equal ones would, and pretrained first layers are summed over theirs.
"""

import difflib

from torch import nn

from src.dataset import NUM_CLASSES
from src.errors import UserError

TIMM = "timm:"


def own_side(name: str) -> int:
    """The side in pixels that timm's weights of that name were trained with. Raises UserError for an unknown name."""
    import timm  # here, not above: it takes seconds, and most runs do without it

    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5))
        hint = f"; near: {near}" if near else ""
        raise UserError(f"network={TIMM}{name}: timm {timm.__version__} has no such network{hint}")
    return timm.get_pretrained_cfg(name).input_size[-1]


def timm_network(name: str, dropout: float | None = None, side: int | None = None) -> nn.Module:
    """timm's network of that name for gray images of that side (None: its own), with fresh weights.

    dropout: before the last layer; None for timm's own, which is mostly none. Raises UserError for an unknown name,
    and for a side or a dropout that the network does not take.
    """
    import timm

    own = own_side(name)
    sides = {} if side in (None, own) or not timm.get_pretrained_cfg(name).fixed_input_size else {"img_size": side}
    rates = {} if dropout is None else {"drop_rate": dropout}
    try:
        return timm.create_model(name, in_chans=1, num_classes=NUM_CLASSES, **sides, **rates)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"network={TIMM}{name}: timm cannot make it with {sides | rates}: {error}") from None
