"""Settings that contradict each other: what is set on the command line and could have no effect is an error.

Recipes may hold such values, for example the patience of a schedule that an override has replaced.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple

from src.config import Member, Recipe, override, split_key
from src.dataset import IMAGE_SIZE
from src.errors import UserError


class Need(NamedTuple):
    """A setting that needs others. None as `off`: each of its values needs them."""

    off: object  # the value that needs nothing
    others: tuple[str, ...]  # the settings that it needs
    is_met: Callable  # by the others' values
    remedy: str


def schedule(name: str, off: object = None) -> Need:
    return Need(off, ("schedule",), lambda value: value == name, f"schedule={name}")


def mixing(off: float, is_met: Callable, word: str) -> Need:
    return Need(off, ("mixup", "cutmix"), is_met, f"mixup {word} cutmix above 0")


SOFT = ("soft_targets",), lambda value: value != "none", "soft_targets=PATH"
FOLD = Need(None, ("valid",), lambda value: value == "fold", "valid=fold")
NEEDS = {
    "folds": FOLD,
    "fold": FOLD,
    "split_seed": FOLD,
    "seed": Need(None, ("seeds",), lambda value: value == "none", "seeds=none"),
    "cosine_epochs": schedule("cosine", off=0),
    "lr_patience": schedule("plateau"),
    "lr_factor": schedule("plateau"),
    "momentum": Need(None, ("optimizer",), lambda value: value == "sgd", "optimizer=sgd"),
    "resize_fraction": Need(0, ("initial_image_size",), lambda side: side < IMAGE_SIZE, "initial_image_size below 48"),
    "initial_image_size": Need(IMAGE_SIZE, ("resize_fraction",), lambda value: value > 0, "resize_fraction above 0"),
    "freeze_epochs": Need(0, ("pretrained",), lambda value: value != "none", "pretrained=auto, or a file"),
    "mix_probability": mixing(1, lambda *values: any(values), "or"),
    "mix_off_fraction": mixing(0, lambda *values: any(values), "or"),
    "cutmix_share": mixing(0.5, lambda *values: all(values), "and"),
    "weight_decay_on": Need("all", ("weight_decay",), lambda value: value > 0, "weight_decay above 0"),
    "soft_target_weight": Need(0.5, *SOFT),
    "soft_target_temperature": Need(1, *SOFT),
    "sam_rho": Need(0.05, ("sam_fraction",), lambda value: value > 0, "sam_fraction above 0"),
    "augment.erase_max_area": Need(0.33, ("augment.erase",), lambda value: value > 0, "augment.erase above 0"),
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
        if key in ("mixup", "cutmix", "class_balancing"):
            yield from filter(None, map(mixes_a_sample, members))
        if key in ("preprocessing", "normalization"):
            yield from filter(None, map(normalizes_twice, members))


def unmet_need(key: str, config: Recipe | Member) -> str:
    """What the setting needs, where it has not got it; else nothing."""
    need, value = NEEDS[key], attrgetter(key)(config)
    others = {name: attrgetter(name)(config) for name in need.others}
    if value == need.off or need.is_met(*others.values()):
        return ""
    return f"{key}={value} needs {need.remedy}; it is {' and '.join(f'{k}={v}' for k, v in others.items())}"


def mixes_a_sample(member: Member) -> str:
    """That a sampler repeats the images that are mixed, where it is so; else nothing."""
    mixing = next((key for key in ("mixup", "cutmix") if getattr(member, key)), None)
    if not mixing or "sampler" not in member.class_balancing:
        return ""
    words = f"{mixing}={getattr(member, mixing)} with class_balancing={member.class_balancing}"
    return f"{words} would mix rare images with copies of themselves; set class_balancing=weights, or none"


def normalizes_twice(member: Member) -> str:
    """That each image gets a mean and a deviation of its own and the pretrained ones too; else nothing."""
    if (member.preprocessing, member.normalization) != ("standardize", "pretrained"):
        return ""
    return "preprocessing=standardize replaces normalization=pretrained; set normalization=dataset"


def frozen_to_the_end(member: Member) -> str:
    """That no epoch trains the whole network, where it is so; else nothing."""
    if not member.freeze_epochs or member.freeze_epochs < member.epochs:
        return ""
    words = f"freeze_epochs={member.freeze_epochs} with epochs={member.epochs} never trains the whole network"
    return f"{words}; set fewer freeze_epochs"
