"""The split: copies of one image are never on both sides, classes are spread evenly, a seed repeats the folds."""

import hashlib

import numpy as np
import pytest

from src.data.split import Split, assign_folds, copy_groups
from src.errors import UserError


def copied(seed: int, n: int = 600, different: int = 250) -> tuple[np.ndarray, np.ndarray]:
    """n rows drawn from fewer different images; the labels of copies often conflict."""
    draw = np.random.RandomState(seed)
    pool = draw.randint(0, 256, (different, 6, 6)).astype(np.uint8)
    which = np.concatenate([np.arange(different), draw.randint(0, different, n - different)])
    labels = draw.choice(7, n, p=[0.14, 0.03, 0.14, 0.25, 0.17, 0.11, 0.16])
    labels[:70] = np.arange(7).repeat(10)  # ten different images of each class
    order = draw.permutation(n)
    return pool[which[order]], labels[order].astype(np.int64)


def different_images(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Images that all differ; counts[i] of them have label i."""
    n = sum(counts)
    images = np.zeros((n, 2, 2), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(n) % 256, np.arange(n) // 256
    return images, np.arange(len(counts)).repeat(counts)


def flat(images: np.ndarray) -> list[bytes]:
    return [image.tobytes() for image in images]


def test_rows_are_in_one_group_exactly_if_their_pixels_are_the_same():
    images, _ = copied(0)
    images[1] = images[0]
    images[1, 5, 5] ^= 1
    groups = copy_groups(images)
    pixels_equal = (images[:, None] == images[None]).all((2, 3))
    assert np.array_equal(groups[:, None] == groups[None], pixels_equal)


@pytest.mark.parametrize("seed", range(4))
def test_copies_share_a_fold_even_where_their_labels_conflict(seed):
    images, labels = copied(seed)
    folds = assign_folds(images, labels, 5, seed)
    fold_of, conflicting = {}, 0
    for pixels, fold in zip(flat(images), folds, strict=True):
        assert fold_of.setdefault(pixels, fold) == fold
    for pixels in fold_of:
        conflicting += len(set(labels[[other == pixels for other in flat(images)]])) > 1
    assert conflicting > 20  # else this shows little


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_every_fold_has_its_share_of_each_class(folds):
    counts = [60, 11, 62, 109, 74, 48, 76]
    images, labels = different_images(counts)
    table = np.zeros((folds, 7), int)
    np.add.at(table, (assign_folds(images, labels, folds, 3), labels), 1)
    assert np.abs(table - np.array(counts) / folds).max() < 1
    assert np.ptp(table.sum(1)) <= 7


def test_the_folds_partition_the_rows():
    images, labels = copied(2)
    held_out = []
    for fold in range(5):
        train, valid = Split(assign_folds(images, labels, 5, seed=0)).rows(fold)
        assert np.array_equal(np.union1d(train, valid), np.arange(600)) and len(train) + len(valid) == 600
        assert not set(flat(images[train])) & set(flat(images[valid]))
        assert all(rows.dtype == np.int64 and (np.diff(rows) > 0).all() for rows in (train, valid))
        held_out.append(valid)
    assert np.array_equal(np.sort(np.concatenate(held_out)), np.arange(600))


def test_a_seed_gives_the_same_folds_on_every_machine():
    images, labels = copied(0)
    folds = assign_folds(images, labels, 5, seed=7)
    digest = hashlib.sha256(folds.astype("<i8").tobytes()).hexdigest()
    assert digest == "a4bacae241486c6ac2dbe3fbbedc86536739f172776ab871ddc6adc53ce9bc3f"
    assert len({assign_folds(images, labels, 5, seed).tobytes() for seed in range(6)}) == 6


def test_an_extra_copy_follows_its_image_and_moves_no_other_row():
    images, labels = copied(4)
    before = assign_folds(images, labels, 5, 0)
    after = assign_folds(np.concatenate([images, images[:1]]), np.append(labels, 6 - labels[0]), 5, 0)
    assert np.array_equal(after[:-1], before) and after[-1] == before[0]


def test_a_class_with_fewer_images_than_folds_is_in_as_many_folds_as_it_has_images_and_nobody_is_warned(recwarn):
    images, labels = different_images([20, 20, 20, 3, 20, 1, 20])
    folds = assign_folds(images, labels, 5, 0)
    assert sorted(np.bincount(folds[labels == 3], minlength=5)) == [0, 0, 1, 1, 1]
    assert all(np.bincount(folds[labels == label]).tolist() == [4] * 5 for label in (0, 1, 2, 4, 6))
    assert not recwarn.list


def test_more_folds_than_any_class_has_images_are_refused():
    images, labels = different_images([3, 4, 2])
    with pytest.raises(UserError, match="folds=5: no class has more than 4 different images; lower folds or raise"):
        assign_folds(images, labels, 5, 0)
    assert set(assign_folds(images, labels, 4, 0)) == set(range(4))


def test_a_copy_with_another_label_counts_for_the_class_of_the_first_row():
    """Class 2 has no image of its own here; that spoils neither the shares of class 0 nor the folds of the copies."""
    images, labels = different_images([20, 5])
    images, labels = np.concatenate([images, images[:9]]), np.append(labels, [2] * 9)
    folds = assign_folds(images, labels, 5, 0)
    assert np.array_equal(folds[25:], folds[:9])
    assert np.bincount(folds[:20]).tolist() == [4] * 5 and np.bincount(folds[20:25]).tolist() == [1] * 5
