"""The competition's own files, where they are: named by FER_INPUT, or in input/. Elsewhere these tests are skipped."""

import numpy as np
import pytest

from src import recipes
from src.data import competition
from src.data.split import Split, assign_folds, copy_groups
from src.dataset import PIXEL_MEAN, PIXEL_STD
from src.report.explore import summary
from src.report.explored import examine


@pytest.fixture(scope="module")
def data(real_files) -> competition.Competition:
    return competition.read_competition(real_files)


def test_the_counts_are_those_of_the_competition(data):
    assert (len(data.train), len(data.test), data.test.labels) == (28_709, 7_178, None)
    assert np.bincount(data.train.labels).tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]


def test_the_normalisation_is_that_of_the_training_images(data):
    assert data.train.images.mean() / 255 == pytest.approx(PIXEL_MEAN, abs=1e-4)
    assert data.train.images.std() / 255 == pytest.approx(PIXEL_STD, abs=1e-4)


def test_the_copies_are_those_known_and_none_is_on_both_sides_of_the_split(data):
    groups = copy_groups(data.train.images)
    assert len(groups) - len(set(groups.tolist())) == 1_236
    train, valid = Split(assign_folds(data.train.images, data.train.labels, 5, 0)).rows(0)
    assert not set(groups[train]) & set(groups[valid])
    shares = [np.bincount(data.train.labels[rows], minlength=7) / len(rows) for rows in (train, valid)]
    assert np.abs(shares[0] - shares[1]).max() < 0.004
    assert len(valid) / len(groups) == pytest.approx(0.2, abs=0.002)


def test_explore_finds_what_is_known_of_the_files(data):
    found = summary(examine(data, recipes.get("baseline")))
    assert found["classes"].endswith("16.55:1") and found["gray values"].startswith("129.47 ± 65.04")
    assert found["exact copies"].startswith("1,236 extra rows in train.csv")
    assert found["conflicting labels"].startswith("39 groups") and found["flat images"].startswith("12 in train.csv")
    assert found["near copies"].startswith("1,863 pairs") and "(6.50 %)" in found["split"]
