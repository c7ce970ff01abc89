"""Synthetic faces: repeatable, imbalanced and copied like FER2013, learnable, written as the competition's files."""

import hashlib

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from src.data import synthetic
from src.data.competition import read_competition, read_labelled

# The same with numpy 1.26 and 2.4, with and without its AVX2 loops: drawing is exact arithmetic throughout.
DIGEST = "0adb242ae3631abcd52737bd371d97e51d7f7acf1c6089bc5f1fb00f9533fac5"


@pytest.fixture(scope="module")
def some():
    return synthetic.make_faces(700, seed=3)


def copy_count(images):
    return len(images) - len(np.unique(images.reshape(len(images), -1), axis=0))


def test_the_bytes_are_the_same_on_every_machine():
    images = synthetic.draw_faces(np.arange(7).repeat(10), seed=1)
    assert hashlib.sha256(images.tobytes()).hexdigest() == DIGEST
    assert not np.array_equal(synthetic.draw_faces(np.arange(7).repeat(10), seed=2), images)


def test_imbalance_is_that_of_fer2013():
    assert synthetic.class_counts(28709).tolist() == list(synthetic.TRAINING_COUNTS)
    _, labels = synthetic.make_faces(2000, seed=0)
    shares = np.bincount(labels, minlength=7) / 2000
    assert np.abs(shares - np.array(synthetic.TRAINING_COUNTS) / 28709).max() < 0.015


@pytest.mark.parametrize("n", [1, 6, 7, 27, 28, 60, 101, 1440])
def test_counts_add_up_and_keep_the_rare_class(n):
    counts = synthetic.class_counts(n)
    assert counts.sum() == n and counts.min() >= min(4, n // 7)


def test_copies_are_there_and_agree_on_the_label(some):
    images, labels = some
    assert copy_count(images) == copy_count(np.column_stack([images.reshape(700, -1), labels])) == 28
    assert copy_count(synthetic.make_faces(300, seed=3, copies=0)[0]) == 0


def test_expressions_can_be_learnt(some):
    """Even a linear classifier of 24x24 pixels is far above the 25 % of always predicting Happy."""
    train = synthetic.make_faces(1000, seed=5, copies=0)
    small = [images.reshape(-1, 24, 2, 24, 2).mean(axis=(2, 4)).reshape(-1, 576) for images in (train[0], some[0])]
    reader = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(small[0], train[1])
    assert reader.score(small[1], some[1]) > 0.6


TRAIN, TEST = 120, 61


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    synthetic.write_files(folder, TRAIN, TEST, seed=1)
    return folder


def test_some_test_faces_are_also_in_train_with_the_same_label(written):
    rows = [line.split(",") for line in (written / "icml_face_data.csv").read_text().splitlines()[1:]]
    known = {pixels: label for label, _, pixels in rows[:TRAIN]}
    shared = [(label, known[pixels]) for label, _, pixels in rows[TRAIN:] if pixels in known]
    assert len(shared) == round(0.08 * TEST)
    assert all(one == other for one, other in shared)


def test_the_pair_and_icml_hold_the_same_rows_and_are_read(written):
    data, labelled = read_competition(written), read_labelled(written)
    assert data.example.read_text().split("\n")[:2] == ["id,emotion", "0,0"]
    assert labelled.usage.tolist() == [0] * TRAIN + [1] * 30 + [2] * 31
    assert np.array_equal(np.concatenate([data.train.images, data.test.images]), labelled.images)
    assert np.array_equal(data.train.labels, labelled.labels[:TRAIN])
