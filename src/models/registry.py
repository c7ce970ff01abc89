"""The registry of networks: each family's file registers its functions, and `create` makes a network by its name.

Every network takes images that are normalized with FER2013's mean and deviation, float (n, 1, 48, 48), and returns
logits, float (n, 7). A network that was made for other images, or gets them preprocessed, has an `InputAdapter`.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import nn

from src.config import Member, nearest
from src.dataset import IMAGE_SIZE
from src.errors import UserError
from src.models.input_adapter import InputAdapter, normalization_of
from src.models.timm_networks import TIMM, pretrained_image_size, timm_network

Make = Callable[..., nn.Module]
NETWORKS: dict[str, Make] = {}  # by the function's name; `create` also knows `timm:<name>`
IMAGE_SIZES: dict[str, int] = {}  # of the networks that were made for other images than FER2013's


def register(image_size: int = IMAGE_SIZE) -> Callable[[Make], Make]:
    """Decorator: adds a function `make(dropout)` to the registry under its own name.

    image_size: pixels a side of the images that the network was made for. Where it is not FER2013's, the function is
    called as `make(dropout, image_size)`.
    """

    def add(make: Make) -> Make:
        name = make.__name__
        if name in NETWORKS:
            raise ValueError(f"two networks are called {name}")
        NETWORKS[name] = make
        if image_size != IMAGE_SIZE:
            IMAGE_SIZES[name] = image_size
        return make

    return add


def find(name: str) -> Make:
    """The function that makes the network; UserError with the nearest name for an unknown one."""
    if name.startswith(TIMM):
        return partial(timm_network, name.removeprefix(TIMM))
    if name not in NETWORKS:
        known = f"{', '.join(NETWORKS)}, {TIMM}<name>"
        raise UserError(f"network={name}: no such network{nearest(name, NETWORKS)}; there are {known}")
    return NETWORKS[name]


def family(name: str) -> str:
    """The name of the file that defines the network, without its ending."""
    return "timm" if name.startswith(TIMM) else find(name).__module__.rpartition(".")[2]


def native_image_size(name: str) -> int:
    """Pixels a side of the images that the network was made for; images are resized to it."""
    if name.startswith(TIMM):
        return pretrained_image_size(name.removeprefix(TIMM))
    find(name)
    return IMAGE_SIZES.get(name, IMAGE_SIZE)


def create(
    name: str,
    dropout: float | None = None,
    image_size: int | None = None,
    normalization: str = "dataset",
    preprocessing: str = "none",
    drop_path: float = 0.0,
) -> nn.Module:
    """A new network with random initial weights, drawn from torch's global generator.

    dropout: the rate; None: the network's default. image_size: pixels a side that images are resized to; None: the
    network's native size. normalization: "dataset" keeps that of the input, "pretrained" takes that of the published
    weights. preprocessing: of each image, "none", "standardize" or "equalize". drop_path: the rate of stochastic depth.
    Raises UserError for an unknown name, and for a `drop_path` that the network does not take.
    """
    make, pixels = find(name), image_size or native_image_size(name)
    sizes = {"image_size": pixels} if name.startswith(TIMM) or name in IMAGE_SIZES else {}
    body = make(dropout=dropout, **sizes, **stochastic_depth(name, make, drop_path))
    if pixels == IMAGE_SIZE and normalization == "dataset" and preprocessing == "none":
        return body
    adapter = InputAdapter(pixels, *normalization_of(body, normalization), preprocessing)
    return nn.Sequential(OrderedDict(adapter=adapter, body=body))


def create_for(member: Member) -> nn.Module:
    """The member's network with random initial weights; see `create`."""
    inputs = member.image_size, member.normalization, member.preprocessing
    return create(member.network, member.dropout, *inputs, member.drop_path)


def stochastic_depth(name: str, make: Make, drop_path: float) -> dict:
    """The argument for stochastic depth; none for 0. UserError if the network does not take it."""
    if drop_path and "drop_path" not in inspect.signature(make).parameters:
        able = [other for other, function in NETWORKS.items() if "drop_path" in inspect.signature(function).parameters]
        others = f"{', '.join(able)} and most of timm's"
        raise UserError(f"drop_path={drop_path}: {name} has no stochastic depth; {others} do")
    return {"drop_path": drop_path} if drop_path else {}


def body_of(net: nn.Module) -> nn.Module:
    """The network without its input adapter."""
    return net.body if isinstance(getattr(net, "adapter", None), InputAdapter) else net


def head_of(net: nn.Module) -> nn.Module:
    """The last layer, whose outputs are the logits. In some of timm's networks it is a convolution, or two layers."""
    body = body_of(net)
    if not hasattr(body, "get_classifier"):
        return [layer for layer in body.modules() if isinstance(layer, nn.Linear)][-1]
    head = body.get_classifier()
    return nn.ModuleList(head) if isinstance(head, tuple) else head
