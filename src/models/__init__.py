"""The registry of networks: name → a function that makes one.

Every network takes normalised faces, float (n, 1, 48, 48), and gives logits, float (n, 7).
"""

from collections.abc import Callable

from torch import nn

from src.config import nearest
from src.errors import UserError
from src.models.compact_cnn import compact_cnn
from src.models.simple_cnn import simple_cnn_v0, simple_cnn_v1, simple_cnn_v2

NETWORKS = {f.__name__: f for f in (simple_cnn_v0, simple_cnn_v1, simple_cnn_v2, compact_cnn)}


def names() -> list[str]:
    """The names that `create` knows, in the order of the families."""
    return list(NETWORKS)


def create(name: str, dropout: float | None = None) -> nn.Module:
    """A new network with freshly drawn weights (from torch's global generator).

    dropout: the rate, or None for the network's own. Raises UserError for an unknown name.
    """
    return find(name)(dropout=dropout)


def find(name: str) -> Callable[..., nn.Module]:
    """The function that makes the network; UserError naming the nearest for an unknown name."""
    if name not in NETWORKS:
        raise UserError(f"network={name}: no such network{nearest(name, NETWORKS)}; there are {', '.join(NETWORKS)}")
    return NETWORKS[name]
