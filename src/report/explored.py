"""What `explore` finds out about the data before anything is drawn."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from src.config import Recipe
from src.data.competition import Competition
from src.data.split import copy_groups
from src.dataset import NUM_CLASSES
from src.report.copies import NearCopies, conflicts, find_near_copies, representatives


@dataclass(frozen=True)
class Explored:
    """The data, the recipe, and the copies among all images. Rows are counted from 0, training rows first.

    groups: int64 (n,), equal for equal images; near: pairs of group numbers.
    """

    data: Competition
    recipe: Recipe
    groups: np.ndarray
    near: NearCopies

    @property
    def names(self) -> tuple[str, str]:
        """What the training rows and the test rows are called."""
        files = self.data.files
        return (files[0].name, files[1].name) if len(files) == 2 else ("Training rows", "test rows")

    @property
    def train_groups(self) -> np.ndarray:
        """The group of each training row."""
        return self.groups[: len(self.data.train)]

    @property
    def test_groups(self) -> np.ndarray:
        """The group of each test row."""
        return self.groups[len(self.data.train) :]

    @cached_property
    def class_counts(self) -> np.ndarray:
        """Training rows of each class, int64 (7,)."""
        return np.bincount(self.data.train.labels, minlength=NUM_CLASSES)

    @property
    def imbalance(self) -> float:
        """The rows of the largest class by those of the smallest that occurs."""
        return self.class_counts.max() / self.class_counts[self.class_counts > 0].min()

    @cached_property
    def conflicting(self) -> list[np.ndarray]:
        """The rows of each group of training images whose labels differ."""
        return conflicts(self.train_groups, self.data.train.labels)

    @cached_property
    def test_rows_in_train(self) -> np.ndarray:
        """The test rows whose image is a training image too."""
        return np.flatnonzero(np.isin(self.test_groups, self.train_groups))

    @cached_property
    def first_rows(self) -> np.ndarray:
        """The first row of each group, by the group's number."""
        return representatives(self.groups)

    def image(self, row: int) -> np.ndarray:
        """The image of a row, uint8 (48, 48)."""
        train = self.data.train.images
        return train[row] if row < len(train) else self.data.test.images[row - len(train)]


def examine(data: Competition, recipe: Recipe) -> Explored:
    """Finds the copies and the near copies among all images."""
    images = np.concatenate([data.train.images, data.test.images])
    groups = copy_groups(images)
    return Explored(data, recipe, groups, find_near_copies(images[representatives(groups)]))
