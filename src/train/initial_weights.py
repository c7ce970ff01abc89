"""A member's network, with random or with pretrained weights.

`find_initial_weights` runs before the first member trains: what is missing or wrong must not stop a run after hours.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from src import models
from src.config import Member
from src.dataset import CLASS_NAMES, IMAGE_SIZE
from src.errors import UserError
from src.files import digest
from src.models import pretrained
from src.models.input_adapter import normalization_of
from src.models.state_dict import load_weights
from src.models.weight_files import read_weights


@dataclass(frozen=True)
class InitialWeights:
    """Where a network's first weights come from."""

    file: Path | None  # None for random ones
    description: str
    num_bytes: int  # bytes of the network's state
    notes: tuple[str, ...] = ()  # lines for the log: what was passed over, which of several was taken
    digest: str = ""  # 16 hexadecimal digits of the file's content


def create_network(member: Member, file: Path | None = None) -> nn.Module:
    """The member's network, with the weights in `file`; all other weights are drawn from torch's global generator."""
    net = models.create_for(member)
    if file is not None:
        load_weights(models.body_of(net), file, pretrained.parse_pretrained_setting(member.pretrained)[1])
    return net


def find_initial_weights(member: Member, folder: Path) -> InitialWeights:
    """Finds the member's weights, below `folder` if its setting is "auto", and loads them once as a test.

    Raises UserError for an impossible network, a named file that does not exist, and weights that are damaged or of
    another network. If no weights are found for "auto", the description says so.
    """
    net = create_network(member)
    check_image_size(member, net)
    num_bytes = sum(value.nbytes for value in net.state_dict().values())
    body = models.body_of(net)
    needs_published = {"pretrained": member.pretrained == "auto", "layer_decay": member.layer_decay != 1.0}
    for key, is_needed in needs_published.items():
        if is_needed and not hasattr(body, "pretrained_cfg"):
            raise UserError(f"{member.name}.{key}: {member.network} is the kit's own, without published weights")
    if member.pretrained == "none":
        return InitialWeights(None, "from scratch", num_bytes)
    found = pretrained.find_weights(member, body, folder)
    if found.file is None:
        reason = f"from scratch, not comparable with a pretrained start: {found.origin}"
        return InitialWeights(None, reason, num_bytes, tuple(found.notes))
    notes = (*found.notes, *notes_on_run(member, body, found.file))
    content = digest(found.file)[:16]
    return InitialWeights(
        found.file, f"pretrained: {found.file} [{content}], {found.origin}", num_bytes, notes, content
    )


def notes_on_run(member: Member, body: nn.Module, file: Path) -> list[str]:
    """What to know about weights that a run of the kit left, for the log."""
    metadata, notes = read_weights(file).metadata, []
    if pretrained.is_of_run(file) or "classes" in metadata:
        notes = [
            "the accuracy is too high if that run trained on rows that validate here: keep folds, fold, split_seed"
        ]
    normalization = describe_normalization(body, member.normalization)
    if "normalization" in metadata and metadata["normalization"] != normalization:
        notes.append(f"warning: trained with normalization {metadata['normalization']}, here {normalization}")
    preprocessing = metadata.get("preprocessing", "none")
    if "classes" in metadata and preprocessing != member.preprocessing:
        notes.append(f"warning: trained with preprocessing {preprocessing}, here {member.preprocessing}")
    return notes


def weights_metadata(member: Member, net: nn.Module) -> dict[str, str]:
    """What the weights of a trained member say of themselves: the network, its images, classes and normalization."""
    return {
        "format": "pt",
        "network": member.network,
        "image_size": str(member.image_size or models.native_image_size(member.network)),
        "classes": json.dumps(CLASS_NAMES),
        "normalization": describe_normalization(models.body_of(net), member.normalization),
        "preprocessing": member.preprocessing,
    }


def describe_normalization(body: nn.Module, setting: str) -> str:
    """Mean and deviation of the network's input as JSON, for pixels scaled to 0-1."""
    mean, std = normalization_of(body, setting)
    return json.dumps({"mean": round(mean, 6), "std": round(std, 6)})


@torch.inference_mode()
def check_image_size(member: Member, net: nn.Module) -> None:
    """Raises UserError if the network does not accept faces of the member's image size, or of its first epoch."""
    image_size = member.image_size or models.native_image_size(member.network)
    stored_sides = [IMAGE_SIZE, *([member.initial_image_size] if member.resize_fraction else [])]
    for stored in stored_sides:
        side = image_size * stored // IMAGE_SIZE
        try:
            net.eval()(torch.zeros(1, 1, stored, stored))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{member.name}: {member.network} does not take images of side {side}: {reason}") from None


def freeze_body(net: nn.Module, frozen: bool) -> None:
    """Trains the last layer only (frozen), or all layers. Batch norms of a frozen body keep their statistics."""
    net.requires_grad_(not frozen)
    models.head_of(net).requires_grad_(True)
    if frozen:
        for layer in net.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
