"""A member's network, with random or with pretrained weights.

`find_initial_weights` runs before the first member trains: what is missing or wrong must not stop a run after hours.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from src import models
from src.config import Member
from src.dataset import IMAGE_SIZE
from src.errors import UserError
from src.files import digest
from src.models import pretrained


@dataclass(frozen=True)
class InitialWeights:
    """Where a network's first weights come from."""

    file: Path | None  # None for random ones
    description: str
    size: int  # bytes of the network's state


def create_network(member: Member, file: Path | None = None) -> nn.Module:
    """The member's network, with the weights in `file`; all other weights are drawn from torch's global generator."""
    net = models.create(member.network, member.dropout, member.image_size, member.normalization)
    if file is not None:
        pretrained.load_weights(models.body_of(net), file)
    return net


def find_initial_weights(member: Member, folder: Path) -> InitialWeights:
    """Finds the member's weights, below `folder` if its setting is "auto", and loads them once as a test.

    Raises UserError for an impossible network, a named file that does not exist, and weights that are damaged or of
    another network. If no weights are found for "auto", the description says so.
    """
    net = create_network(member)
    check_image_size(member, net)
    size = sum(value.nbytes for value in net.state_dict().values())
    published = getattr(models.body_of(net), "pretrained_cfg", None)
    for key, off in (("pretrained", "none"), ("layer_decay", 1.0)):
        if getattr(member, key) != off and not published:
            raise UserError(f"{member.name}.{key}: {member.network} is the kit's own, without published weights")
    if member.pretrained == "none":
        return InitialWeights(None, "from scratch", size)
    file, origin = pretrained.find_weights(member.pretrained, published, folder)
    if file is None:
        return InitialWeights(None, f"from scratch, not comparable with a pretrained start: {origin}", size)
    pretrained.load_weights(models.body_of(net), file)
    return InitialWeights(file, f"pretrained: {file} [{digest(file)[:16]}], {origin}", size)


@torch.inference_mode()
def check_image_size(member: Member, net: nn.Module) -> None:
    """Raises UserError if the network does not accept faces enlarged to the member's image size."""
    try:
        net.eval()(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        size = member.image_size or models.native_image_size(member.network)
        raise UserError(f"{member.name}: {member.network} does not take images of side {size}: {reason}") from None


def freeze_body(net: nn.Module, frozen: bool) -> None:
    """Trains the last layer only (frozen), or all layers. Batch norms of a frozen body keep their statistics."""
    net.requires_grad_(not frozen)
    models.head_of(net).requires_grad_(True)
    if frozen:
        for layer in net.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
