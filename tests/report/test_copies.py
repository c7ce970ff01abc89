"""Copies and near copies are found as planted; the hash is that of a plain reference."""

import numpy as np
import pytest
from scipy.fft import dctn

from src.data import synthetic
from src.data.split import copy_groups
from src.report import copies
from src.report.copies import conflicts, extra_copies, find_near_copies, flat_rows, linked_rows, perceptual_hashes
from tests.report.conftest import TRAIN, blurs, darker, planted_train


def test_exact_copies_and_their_conflicts_are_those_planted():
    images, labels = planted_train()
    groups = copy_groups(images)
    assert extra_copies(groups) == 3
    assert [rows.tolist() for rows in conflicts(groups, labels)] == [[1, 212]]
    assert flat_rows(images).tolist() == [214, 215]


def test_a_darker_image_is_a_near_copy_and_no_other_pair_is():
    faint = blurs(1, 7) // 60 + np.arange(2, dtype=np.uint8).reshape(2, 1, 1)  # alike, but flat
    images = np.concatenate([blurs(100, 3), [darker(blurs(100, 3)[17])], faint])
    near = find_near_copies(images)
    assert near.pairs.tolist() == [[17, 100]] and near.complete
    expected = np.corrcoef(images[17].ravel(), images[100].ravel())[0, 1]
    assert near.correlation[0] == pytest.approx(expected, abs=1e-5)


def test_a_face_that_is_cropped_or_has_a_line_across_is_still_a_near_copy():
    face = synthetic.make_faces(30, 5, copies=0)[0][4]
    cropped = np.pad(face[1:-1, 1:-1], 1, mode="edge")
    lined = face.copy()
    lined[20:23, 10:38] //= 2
    assert {tuple(pair) for pair in find_near_copies(np.stack([face, cropped, lined])).pairs} >= {(0, 1), (0, 2)}


def test_the_hash_is_the_sign_of_the_low_frequencies_about_their_median():
    images = synthetic.make_faces(5, 4)[0]
    for image, value in zip(images, perceptual_hashes(images), strict=True):
        low = dctn(image.astype(float), norm="ortho")[:8, :8].ravel()
        expected = (low > np.median(low[1:])).astype(np.uint8)
        assert np.array_equal(np.unpackbits(np.array([value]).view(np.uint8)), expected)


def test_the_comparison_is_bounded_and_says_so(monkeypatch):
    images = np.concatenate([blurs(5, 6)] * 40) + np.arange(200, dtype=np.uint8).reshape(-1, 1, 1) % 3
    monkeypatch.setattr(copies, "MAX_PAIRS", 50)
    near = find_near_copies(images)
    assert len(near.pairs) <= 50 and not near.complete
    monkeypatch.setattr(copies, "MAX_IMAGES", 2)
    assert not find_near_copies(blurs(5, 6)).complete


def test_pairs_beyond_the_limit_in_the_last_part_are_told(monkeypatch):
    images = np.concatenate([blurs(1, 6)] * 30) + np.arange(30, dtype=np.uint8).reshape(-1, 1, 1) % 3
    monkeypatch.setattr(copies, "MAX_PAIRS", 100)
    near = find_near_copies(images)
    assert len(near.pairs) <= 100 and not near.complete


def test_rows_are_linked_through_pairs_in_either_order():
    groups, pairs = np.array([0, 1, 2, 0, 3]), np.array([[0, 2], [1, 3]])
    assert linked_rows(groups, pairs, np.array([0, 3, 4]), np.array([1, 2])).tolist() == [0, 3, 4]
    assert linked_rows(groups, pairs, np.array([0, 3]), np.array([1, 4])).tolist() == []
    assert linked_rows(groups, np.empty((0, 2), int), np.array([0]), np.array([1])).tolist() == []


def test_all_planted_images_are_different_but_for_the_copies():
    assert len(np.unique(copy_groups(planted_train()[0]))) == TRAIN + 3
