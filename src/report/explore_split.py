"""Section of `explore`: the split that a run uses, class by class, and what a split that ignores copies would leak."""

import warnings

import numpy as np
from sklearn.model_selection import StratifiedKFold

from src.data.split import assign_folds
from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.errors import UserError
from src.report.copies import linked_rows
from src.report.explored import Explored
from src.report.numbers import percent
from src.report.page import Notice, Section, Table


def split_section(found: Explored) -> Section:
    """The folds of the recipe, and the validation faces that the network would have seen in its training."""
    recipe, labels = found.recipe, found.data.train.labels[: found.recipe.max_train_rows]
    text = f"Recipe {recipe.name}: {recipe.folds} folds by seed {recipe.split_seed}, of {len(labels):,} training rows"
    if recipe.valid == "train":
        return Section("Split", [f"{text}.", Notice("This recipe validates on the rows that it trains on.")])
    if recipe.fold == "none":
        return Section("Split", [Notice(f"Recipe {recipe.name} trains on all rows and validates none.")])
    try:
        folds = recipe_folds(found)
    except UserError as error:
        return Section("Split", [f"{text}.", Notice(f"No split: {error}.")])
    text += "; each fold" if recipe.fold == "all" else f"; fold {recipe.fold}"
    text += " is for validation. Copies of an image are in one fold."
    return Section("Split", [text, _classes(labels, folds == shown_fold(found)), _folds(labels, folds), _leaks(found)])


def split_summary(found: Explored) -> str:
    """What the split prevents; empty where there is no such split."""
    if found.recipe.valid == "train" or found.recipe.fold == "none":
        return ""
    try:
        _, (_, rows, exact, _) = compare_splits(found)
    except UserError:
        return ""
    share = f"{exact:,} of {rows:,} validation faces ({percent(exact / rows)})"
    return f"one that ignores copies would have {share} in training too; the kit's split has none"


def compare_splits(found: Explored) -> list[tuple[str, int, int, int]]:
    """For the recipe's split and for a plain one: its name, validation rows, those with an exact copy in training, and
    those with a near copy only. Raises UserError where there are too few rows for the folds.
    """
    recipe = found.recipe
    folds = recipe_folds(found)
    plain = plain_folds(found.data.train.labels[: len(folds)], recipe.folds, recipe.split_seed)
    splits = {"this split": folds, "a split that ignores copies": plain}
    return [(name, *_count_leaks(found, folds == shown_fold(found))) for name, folds in splits.items()]


def shown_fold(found: Explored) -> int:
    """The fold whose rows are counted: the recipe's, or the first where each fold has its turn."""
    return found.recipe.fold if isinstance(found.recipe.fold, int) else 0


def recipe_folds(found: Explored) -> np.ndarray:
    """The fold of each row that the recipe uses, int64 (n,)."""
    recipe, train = found.recipe, found.data.train
    rows = slice(recipe.max_train_rows)
    return assign_folds(train.images[rows], train.labels[rows], recipe.folds, recipe.split_seed)


def plain_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, int64 (n,), stratified by label as usual: copies of an image are not kept together."""
    assigned = np.empty(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, rows) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)):
            assigned[rows] = fold
    return assigned


def _classes(labels: np.ndarray, held_out: np.ndarray) -> Table:
    rows = []
    for name, part in [*((name, labels == label) for label, name in enumerate(CLASS_NAMES)), ("all", labels >= 0)]:
        counts = [int((part & side).sum()) for side in (~held_out, held_out)]
        shares = [
            percent(count / max(1, side.sum())) for count, side in zip(counts, (~held_out, held_out), strict=True)
        ]
        rows.append((name, counts[0], shares[0], counts[1], shares[1]))
    header = ("class", "training rows", "share", "validation rows", "share")
    return Table(header, rows, "The shares are of the rows of one side: a good split has the same on both.")


def _folds(labels: np.ndarray, folds: np.ndarray) -> Table:
    counts = [np.bincount(labels[folds == fold], minlength=NUM_CLASSES) for fold in range(folds.max() + 1)]
    rows = [(f"fold {fold}", *map(int, count), int(count.sum())) for fold, count in enumerate(counts)]
    return Table(("fold", *CLASS_NAMES, "all"), rows, "Rows of each class in each fold.")


def _count_leaks(found: Explored, held_out: np.ndarray) -> tuple[int, int, int]:
    """Validation rows; those with an exact copy among the others; those with a near copy there and no exact one."""
    rows, others = np.flatnonzero(held_out), np.flatnonzero(~held_out)
    exact = rows[np.isin(found.train_groups[rows], found.train_groups[others])]
    near = linked_rows(found.train_groups, found.near.pairs, rows, others)
    return len(rows), len(exact), len(np.setdiff1d(near, exact))


def _leaks(found: Explored) -> Table:
    rows = [
        (name, count, exact, percent(exact / count), near, percent(near / count))
        for name, count, exact, near in compare_splits(found)
    ]
    header = ("split", "validation rows", "exact copy in training", "share", "only a near copy in training", "share")
    caption = (
        "Validation rows that the network has seen in its training. They make the validation accuracy too high. "
        "This split keeps exact copies together; it does not look for near copies."
    )
    return Table(header, rows, caption)
