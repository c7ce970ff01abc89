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


def needs_schedule(name: str, off: object = None) -> Need:
    """What a setting of one schedule needs."""
    return Need(off, ("schedule",), lambda value: value == name, f"schedule={name}")


def needs_mixing(off: float, is_met: Callable, word: str) -> Need:
    """What a setting of mixed batches needs. is_met: `any` or `all` of mixup and cutmix."""
    return Need(off, ("mixup", "cutmix"), lambda *alphas: is_met(alphas), f"mixup {word} cutmix above 0")


def needs_soft_targets(off: float) -> Need:
    """What a setting of soft targets needs."""
    return Need(off, ("soft_targets",), lambda value: value != "none", "soft_targets=PATH")


def needs_above_zero(off: object, other: str) -> Need:
    """What a setting needs that has an effect only where another one is above 0."""
    return Need(off, (other,), lambda value: value > 0, f"{other} above 0")


VALID_FOLD = Need(None, ("valid",), lambda valid: valid == "fold", "valid=fold")
SPLIT = Need(
    None,
    ("valid", "fold"),
    lambda valid, fold: valid == "fold" and fold != "none",
    "valid=fold and fold=all, or a number",
)
NEEDS = {
    "folds": SPLIT,
    "fold": VALID_FOLD,
    "split_seed": SPLIT,
    "seed": Need(None, ("seeds",), lambda value: value == "none", "seeds=none"),
    "cosine_epochs": needs_schedule("cosine", off=0),
    "lr_patience": needs_schedule("plateau"),
    "lr_factor": needs_schedule("plateau"),
    "momentum": Need(None, ("optimizer",), lambda value: value == "sgd", "optimizer=sgd"),
    "resize_fraction": Need(0, ("initial_image_size",), lambda side: side < IMAGE_SIZE, "initial_image_size below 48"),
    "initial_image_size": needs_above_zero(IMAGE_SIZE, "resize_fraction"),
    "freeze_epochs": Need(0, ("pretrained",), lambda value: value != "none", "pretrained=auto, or a file"),
    "mix_probability": needs_mixing(1, any, "or"),
    "mix_off_fraction": needs_mixing(0, any, "or"),
    "cutmix_share": needs_mixing(0.5, all, "and"),
    "weight_decay_on": needs_above_zero("all", "weight_decay"),
    "soft_target_weight": needs_soft_targets(0.5),
    "soft_target_temperature": needs_soft_targets(1),
    "sam_rho": needs_above_zero(0.05, "sam_fraction"),
    "augment.erase_max_area": needs_above_zero(0.33, "augment.erase"),
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
        if key in NEEDS and not (name and hasattr(recipe, key)):  # a member's own seed is added to each of the seeds
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
    method = next((key for key in ("mixup", "cutmix") if getattr(member, key)), None)
    if not method or "sampler" not in member.class_balancing:
        return ""
    words = f"{method}={getattr(member, method)} with class_balancing={member.class_balancing}"
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
