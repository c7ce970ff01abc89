"""What a member's training starts from: its network, with fresh or with pretrained weights.

`prepare` runs before the first member trains: weights that are not there, or not that network's, and a size that a
network does not take are found in seconds, and not after hours of other members.
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
class Start:
    """The weights' file, or None for fresh weights; a line that says where they come from; the network's size.

    size: bytes of the weights, as they are kept.
    """

    file: Path | None
    line: str
    size: int


def network(member: Member, file: Path | None = None) -> nn.Module:
    """A new network of the member's with the file's weights, where there is one; the rest is torch's generator's."""
    net = models.create(member.network, member.dropout, member.image_size, member.normalization)
    if file is not None:
        pretrained.load_weights(models.body_of(net), file)
    return net


def prepare(member: Member, folder: Path) -> Start:
    """Finds the member's start, below `folder` where it is to be searched, and tries it.

    Raises UserError for a network that cannot be made so, a named file that is not there, and weights that are damaged
    or another network's. Weights that cannot be had from anywhere are no error: the line then says so.
    """
    net = models.create(member.network, member.dropout, member.image_size, member.normalization)
    require_faces(member, net)
    size = sum(value.nbytes for value in net.state_dict().values())
    published = getattr(models.body_of(net), "pretrained_cfg", None)
    for key, off in (("pretrained", "none"), ("layer_decay", 1.0)):
        if getattr(member, key) != off and not published:
            raise UserError(f"{member.name}.{key}: {member.network} is the kit's own, without published weights")
    if member.pretrained == "none":
        return Start(None, "from scratch", size)
    file, origin = pretrained.find_weights(member.pretrained, published, folder)
    if file is None:
        return Start(None, f"from scratch, not comparable with a pretrained start: {origin}", size)
    pretrained.load_weights(models.body_of(net), file)
    return Start(file, f"pretrained: {file} [{digest(file)[:16]}], {origin}", size)


@torch.inference_mode()
def require_faces(member: Member, net: nn.Module) -> None:
    """Raise UserError where the network does not take faces of the member's size."""
    try:
        net.eval()(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        size = member.image_size or models.native_image_size(member.network)
        raise UserError(f"{member.name}: {member.network} does not take images of side {size}: {reason}") from None


def freeze_body(net: nn.Module, frozen: bool) -> None:
    """Lets the last layer alone learn, or everything again; a frozen body's batch norms keep their statistics."""
    net.requires_grad_(not frozen)
    models.head_of(net).requires_grad_(True)
    if frozen:
        for layer in net.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
