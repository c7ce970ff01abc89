"""The split: folds of the training data that keep copies of an image together.

train.csv has 1,236 extra copies of images. A split that ignores them has the same face on both sides and overestimates
the validation accuracy.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold

from src.errors import UserError


def copy_groups(images: np.ndarray) -> np.ndarray:
    """The group of each image, int64 (n,): rows with equal pixels have the same number, in order of first appearance.

    images: uint8 (n, height, width).
    """
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(image.tobytes(), len(first)) for image in images], dtype=np.int64)


def assign_folds(images: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, int64 (n,) in 0 … folds - 1, stratified by label, with copy groups kept together.

    The first row of a group represents it (57 groups of FER2013 have conflicting labels). A seed gives the same folds
    on every machine. A class with fewer different images than folds is missing from some folds. Raises UserError if
    every class has fewer.
    """
    groups = copy_groups(images)
    _, representative = np.unique(groups, return_index=True)
    most = np.bincount(labels[representative]).max()
    if most < folds:
        raise UserError(
            f"folds={folds}: no class has more than {most} different images; lower folds or raise max_train_rows"
        )
    fold_of_group = np.empty_like(representative)
    stratified = StratifiedKFold(folds, shuffle=True, random_state=seed)  # draws by numpy's legacy generator alone
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, held_out) in enumerate(stratified.split(representative, labels[representative])):
            fold_of_group[held_out] = fold
    return fold_of_group[groups]


@dataclass(frozen=True)
class Split:
    """The fold of each training row, int64 (n,)."""

    fold_of_row: np.ndarray
    validates_training_rows: bool = False

    def rows(self, fold: int | None) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train on and those to validate on, int64 each; fold None: all rows, and none."""
        if self.validates_training_rows:
            return (np.arange(len(self.fold_of_row)),) * 2
        held_out = self.fold_of_row == (-1 if fold is None else fold)
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)
