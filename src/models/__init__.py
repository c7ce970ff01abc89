"""The registry of networks: name → a function that makes one.

Every network takes faces that are normalised with train.csv's mean and deviation, float (n, 1, 48, 48), and gives
logits, float (n, 7). One that was made for other images gets a `Front` that enlarges and normalises anew.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import nn

from src.config import nearest
from src.errors import UserError
from src.models.attention_cnn import attention_cnn
from src.models.compact_cnn import compact_cnn
from src.models.deep_cnn import deep_cnn_v1, deep_cnn_v2
from src.models.front import Front, normalization_of
from src.models.mobilevit import mobilevit_xxs
from src.models.resnet import resnet18, resnet18_48, resnet34, resnet34_48, resnet50
from src.models.simple_cnn import (
    simple_cnn_v0,
    simple_cnn_v0_own,
    simple_cnn_v1,
    simple_cnn_v1_late,
    simple_cnn_v1_own,
    simple_cnn_v1_own_late,
    simple_cnn_v2,
    simple_cnn_v2_own,
)
from src.models.timm_network import TIMM, own_side, timm_network
from src.models.vit import vit

OF_48 = (
    *(simple_cnn_v0, simple_cnn_v1, simple_cnn_v2, deep_cnn_v1, deep_cnn_v2, attention_cnn, compact_cnn),
    *(simple_cnn_v0_own, simple_cnn_v1_own, simple_cnn_v1_late, simple_cnn_v1_own_late, simple_cnn_v2_own),
    *(resnet18, resnet34, resnet50, resnet18_48, resnet34_48),
)
ENLARGED = {vit: 224, mobilevit_xxs: 64}  # made with (dropout, side), for this side
NETWORKS = {f.__name__: f for f in (*OF_48, *ENLARGED)}


def names() -> list[str]:
    """The names that `create` knows, in the order of the families; it also knows `timm:<any name of timm's>`."""
    return list(NETWORKS)


def find(name: str) -> Callable[..., nn.Module]:
    """The function that makes the network; UserError naming the nearest for an unknown name."""
    if name.startswith(TIMM):
        return partial(timm_network, name.removeprefix(TIMM))
    if name not in NETWORKS:
        known = f"{', '.join(NETWORKS)}, {TIMM}<name>"
        raise UserError(f"network={name}: no such network{nearest(name, NETWORKS)}; there are {known}")
    return NETWORKS[name]


def family(name: str) -> str:
    """The family, which is the file, that a network belongs to."""
    return "timm" if name.startswith(TIMM) else find(name).__module__.rpartition(".")[2]


def side(name: str) -> int:
    """The side in pixels of the images that a network was made for; faces are enlarged to it."""
    if name.startswith(TIMM):
        return own_side(name.removeprefix(TIMM))
    return ENLARGED.get(find(name), 48)


def create(name: str, dropout: float | None = None, size: int | None = None, normalization: str = "faces") -> nn.Module:
    """A new network with freshly drawn weights (from torch's global generator).

    dropout: the rate, or None for the network's own. size: the side that faces are enlarged to, or None for the
    network's own. normalization: "faces" as they come in, or "own", that of the network's published weights. Raises
    UserError for an unknown name.
    """
    make, pixels = find(name), size or side(name)
    enlarged = name.startswith(TIMM) or make in ENLARGED
    body = make(dropout=dropout, side=pixels) if enlarged else make(dropout=dropout)
    if pixels == 48 and normalization == "faces":
        return body
    front = Front(pixels, *(normalization_of(body) if normalization == "own" else ()))
    return nn.Sequential(OrderedDict(front=front, body=body))


def body_of(net: nn.Module) -> nn.Module:
    """The network without its front, where it has one."""
    return net.body if isinstance(getattr(net, "front", None), Front) else net


def head_of(net: nn.Module) -> nn.Module:
    """The last layer, whose seven outputs are the logits: of timm's networks a convolution in some, two in others."""
    body = body_of(net)
    if not hasattr(body, "get_classifier"):
        return [layer for layer in body.modules() if isinstance(layer, nn.Linear)][-1]
    head = body.get_classifier()
    return nn.ModuleList(head) if isinstance(head, tuple) else head
