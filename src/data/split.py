"""The split: folds of the training data in which copies of one image stay together.

FER2013 holds 1,236 extra copies in train.csv. A split that ignores them puts the same face on both sides and reports a
validation accuracy that is too good.
"""

import warnings

import numpy as np
from sklearn.model_selection import StratifiedKFold

from src.errors import UserError


def copy_groups(images: np.ndarray) -> np.ndarray:
    """The group of each image, int64 (n,): rows with the same pixels share a number, counted by first appearance.

    images: uint8 (n, height, width).
    """
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(image.tobytes(), len(first)) for image in images], dtype=np.int64)


def assign_folds(images: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, int64 (n,) in 0 … folds - 1; stratified by label, copy groups whole.

    One row stands for its group (the first; 57 groups of FER2013 have copies with conflicting labels), the groups are
    dealt out by scikit-learn, and every copy follows. The same on every machine for a seed: only numpy's legacy
    generator is used, whose stream is frozen. A class with fewer different images than folds is missing from some of
    them, as in a small sample. Raises UserError where that is so of every class.
    """
    groups = copy_groups(images)
    _, representative = np.unique(groups, return_index=True)
    most = np.bincount(labels[representative]).max()
    if most < folds:
        raise UserError(f"folds={folds}: no class has more than {most} different images; lower folds or raise rows")
    fold_of_group = np.empty(len(representative), dtype=np.int64)
    dealer = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, held_out) in enumerate(dealer.split(representative, labels[representative])):
            fold_of_group[held_out] = fold
    return fold_of_group[groups]


def split(images: np.ndarray, labels: np.ndarray, folds: int, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and for validation, int64 each: `fold` of `folds` is held out."""
    held_out = assign_folds(images, labels, folds, seed) == fold
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
