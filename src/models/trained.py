"""Trained networks from the folder of a run: the member's settings from run.json, its weights from its own folder."""

import re
from pathlib import Path

from torch import nn

from src.config import Member, member_from
from src.errors import UserError
from src.models.registry import create_for
from src.models.weight_files import read_weights

_PARTS = re.compile(r"(-f\d+)?-s\d+")  # after the member's name where it was trained on several folds or seeds


def member_of_training(recipe: dict, training: str) -> Member:
    """The member of a training, by its name, in a recipe as run.json has it. Its name becomes the training's.

    Raises UserError where the recipe has no such member, or settings that the kit does not know.
    """
    members = recipe.get("members")
    members = [one for one in members if isinstance(one, dict)] if isinstance(members, list) else []
    by_name = {one["name"]: one for one in members if isinstance(one.get("name"), str)}
    fits = [name for name in by_name if training.startswith(name) and _PARTS.fullmatch(training.removeprefix(name))]
    name = training if training in by_name else max(fits, key=len, default=None)
    if name is None:
        raise UserError(f"{training}: run.json does not say with which settings it was trained")
    return member_from(by_name[name] | {"name": training})


def load_trained(member: Member, file: Path) -> nn.Module:
    """The member's network with the weights in its model.safetensors, on the CPU and in evaluation mode.

    Raises UserError for a file that cannot be read and for the weights of another network.
    """
    net, table = create_for(member), read_weights(file).tables.get("", {})
    try:
        net.load_state_dict(table)
    except RuntimeError:
        raise UserError(f"{file}: not the weights of {member.network} with the settings in run.json") from None
    return net.eval()
