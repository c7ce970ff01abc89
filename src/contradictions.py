"""Settings that contradict each other: what is set on the command line and could have no effect is an error.

Recipes may hold such values, for example the patience of a schedule that an override has replaced.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from src.config import Member, Recipe, override, split_key
from src.dataset import IMAGE_SIZE
from src.errors import UserError


class Need(NamedTuple):
    """A setting that needs another one. None as `off`: each of its values needs it."""

    off: object  # the value that needs nothing
    other: str  # the setting that it needs
    is_met: Callable  # by the other setting's value
    remedy: str


def schedule(name: str, off: object = None) -> Need:
    return Need(off, "schedule", lambda value: value == name, f"schedule={name}")


FOLD = Need(None, "valid", lambda value: value == "fold", "valid=fold")
NEEDS = {
    "folds": FOLD,
    "fold": FOLD,
    "split_seed": FOLD,
    "cosine_epochs": schedule("cosine", off=0),
    "lr_patience": schedule("plateau"),
    "lr_factor": schedule("plateau"),
    "momentum": Need(None, "optimizer", lambda value: value == "sgd", "optimizer=sgd"),
    "resize_fraction": Need(0, "initial_image_size", lambda value: value < IMAGE_SIZE, "initial_image_size below 48"),
    "initial_image_size": Need(IMAGE_SIZE, "resize_fraction", lambda value: value > 0, "resize_fraction above 0"),
    "freeze_epochs": Need(0, "pretrained", lambda value: value != "none", "pretrained=auto, or a file"),
}


def configure(recipe: Recipe, assignments: list[str]) -> Recipe:
    """`override`, and UserError for an assignment that contradicts another setting of the changed recipe."""
    changed = override(recipe, assignments)
    for found in contradictions(changed, assignments):
        raise UserError(found)
    return changed


def contradictions(recipe: Recipe, assignments: list[str]) -> Iterator[str]:
    """What each of the assignments, which have made the recipe, contradicts, and what to set.

    Of a setting for all members, one member with what it needs is enough.
    """
    for name, key in (split_key(recipe, assignment.partition("=")[0].strip()) for assignment in assignments):
        members = [member for member in recipe.members if name in ("", member.name)]
        if key in NEEDS:
            found = [unmet_need(key, config) for config in ([recipe] if hasattr(recipe, key) else members)]
            yield from found[:1] if all(found) else ()
        if key in ("epochs", "freeze_epochs"):
            yield from filter(None, map(frozen_to_the_end, members))


def unmet_need(key: str, config: Recipe | Member) -> str:
    """What the setting needs, where it has not got it; else nothing."""
    need, value = NEEDS[key], getattr(config, key)
    other = getattr(config, need.other)
    if value == need.off or need.is_met(other):
        return ""
    return f"{key}={value} needs {need.remedy}; it is {need.other}={other}"


def frozen_to_the_end(member: Member) -> str:
    """That no epoch trains the whole network, where it is so; else nothing."""
    if not member.freeze_epochs or member.freeze_epochs < member.epochs:
        return ""
    words = f"freeze_epochs={member.freeze_epochs} with epochs={member.epochs} never trains the whole network"
    return f"{words}; set fewer freeze_epochs"
