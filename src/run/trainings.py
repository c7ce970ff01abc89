"""The trainings of a run: each member once, or once for each fold and each seed."""

from dataclasses import dataclass, replace

import numpy as np

from src.config import Member, Recipe
from src.data.split import Split, assign_folds
from src.errors import UserError


@dataclass(frozen=True)
class Training:
    """One training. member: with the training's name. fold: for validation; None where no row is held out."""

    member: Member
    base: str  # the member's name in the recipe
    seed: int
    fold: int | None

    name = property(lambda self: self.member.name)


def seeds_of(recipe: Recipe) -> list[int]:
    """The seeds of the run."""
    return [recipe.seed] if recipe.seeds == "none" else [int(seed) for seed in recipe.seeds.split(",")]


def trainings_of(recipe: Recipe) -> list[Training]:
    """The trainings in order of importance: all folds of a member, then the next member, then the next seed.

    They have the members' names where there is one of each; else `<member>-f<fold>-s<seed>`, or `<member>-s<seed>`
    where fold=none.
    """
    folds = list(range(recipe.folds)) if recipe.fold == "all" else [None if recipe.fold == "none" else recipe.fold]
    is_single = recipe.fold != "all" and recipe.seeds == "none"
    found = []
    for seed in seeds_of(recipe):
        for member in recipe.members:
            for fold in folds:
                part = "" if fold is None else f"-f{fold}"
                named = member if is_single else replace(member, name=f"{member.name}{part}-s{seed}")
                found.append(Training(named, member.name, seed + member.seed, fold))
    return found


def split_rows(recipe: Recipe, images: np.ndarray, labels: np.ndarray) -> Split:
    """The recipe's split of the training data, images uint8 (n, 48, 48); UserError for more folds than fit."""
    images, labels = images[: recipe.max_train_rows], labels[: recipe.max_train_rows]
    if recipe.valid == "train" or recipe.fold == "none":
        return Split(np.zeros(len(labels), np.int64), recipe.valid == "train")
    split = Split(assign_folds(images, labels, recipe.folds, recipe.split_seed))
    if len(labels) - np.bincount(split.fold_of_row).max() < 2:
        raise UserError(
            f"folds={recipe.folds}: of {len(labels)} rows of train.csv a fold leaves fewer than 2 to train on"
        )
    return split
