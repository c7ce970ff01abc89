"""Test images that are also in train.csv get the label that they have there; all others stay as they were predicted."""

from pathlib import Path

import numpy as np
import pytest

from src.data.competition import Competition, Faces, read_competition
from src.ensemble.labelled_copies import count_labels, label_copies
from src.ensemble.predictions import Predictions


def predictions(probs: np.ndarray) -> Predictions:
    """Of these probabilities for the test rows, and of three validation rows."""
    valid = np.random.default_rng(0).dirichlet(np.ones(7), 3).astype(np.float32)
    return Predictions({"member": "a", "data_digest": "x"}, np.arange(3), valid, probs.astype(np.float32))


def competition(train: list[tuple[int, int]], test: list[int]) -> Competition:
    """Of flat images with these grays; those of the training data have a label too."""

    def images(grays: list[int]) -> np.ndarray:
        return np.full((len(grays), 48, 48), np.array(grays)[:, None, None], np.uint8)

    grays, labels = zip(*train, strict=True)
    return Competition(Faces(images(grays), np.array(labels)), Faces(images(test), None), (), None, "x", ())


def test_against_a_search_through_all_pairs(faces):
    data = read_competition(faces)
    certain = np.eye(7)[np.random.default_rng(0).integers(0, 7, len(data.test))]  # of other classes, with certainty
    before = predictions(0.99 * certain + 0.01 / 7)
    after, count = label_copies(before, data)
    found = 0
    for row, image in enumerate(data.test.images):
        labels = data.train.labels[[np.array_equal(image, other) for other in data.train.images]]
        found += len(labels) > 0
        if len(labels):
            assert after.test[row].argmax() == np.bincount(labels).argmax()
        else:
            np.testing.assert_array_equal(after.test[row], before.test[row])
    assert count == found > 3
    np.testing.assert_allclose(after.test.sum(1), 1, rtol=1e-6)
    assert after.test.dtype == np.float32 and after.header == before.header
    np.testing.assert_array_equal(after.valid, before.valid)


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        ((2,), 5, 2),  # one copy overrules what is predicted
        ((2, 2, 4), 4, 2),  # the majority
        ((2, 4), 4, 4),  # between two labels that are equally frequent the prediction decides
        ((2, 4), 2, 2),
        ((2, 4), 5, 2),  # of a third class: the more probable of the two, or the first of equal ones
    ],
)
def test_copies_vote_and_the_prediction_decides_a_tie(labels, predicted, expected):
    data = competition([(9, label) for label in labels], [9, 10])
    after, count = label_copies(predictions(np.eye(7)[[predicted, predicted]]), data)
    assert list(after.test.argmax(1)) == [expected, predicted] and count == 1


def test_only_the_rows_that_a_run_may_use_vote():
    data = competition([(1, 0), (9, 3)], [9, 1])
    assert list(label_copies(predictions(np.eye(7)[[5, 5]]), data, 1)[0].test.argmax(1)) == [5, 0]
    assert count_labels(data.train.images, data.train.labels, data.test.images).sum() == 2


def test_in_the_real_files_other_copies_of_a_training_image_nearly_always_have_its_label(real_files: Path):
    """The reason for the vote, from train.csv alone: each row that has copies there is predicted by the others."""
    train = read_competition(real_files).train
    votes = count_labels(train.images, train.labels, train.images)
    votes[np.arange(len(train)), train.labels] -= 1  # the row's own
    has_copy, top = votes.any(1), votes.max(1, keepdims=True)
    decided = has_copy & ((votes == top).sum(1) == 1)
    right = votes.argmax(1)[decided] == train.labels[decided]
    assert (has_copy.sum(), decided.sum(), right.sum()) == (2271, 2251, 2184)
