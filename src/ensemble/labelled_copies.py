"""Test images that are also in train.csv, exactly or nearly: what their labels there say beside what members predict.

568 of FER2013's 7,178 test images have the pixels of a training image, and more show the photograph of one. Images with
equal pixels nearly always have equal labels (97 % in train.csv, LOG.md), near copies in 80 %; a network that
generalizes gives a training image its own label less often. Only a submission has these labels: predictions files have
what the networks predict.
"""

from dataclasses import replace

import numpy as np

from src.data.competition import Competition
from src.data.split import copy_groups
from src.dataset import NUM_CLASSES
from src.ensemble.near_copies import NearCopies
from src.ensemble.predictions import Predictions

PREDICTION = 0.1  # votes: it decides where two labels are equally frequent, and overrules no copy
NEAR_COPY = 3.0  # by which the label of a near copy raises the log-probability of its class; chosen on fold 0 (LOG.md)


def label_copies(predictions: Predictions, data: Competition, rows: int | None = None) -> tuple[Predictions, int]:
    """Lets the copies of each test image in the training data vote for its label; the number of images with copies.

    Each copy has a vote, and what was predicted has a tenth of one. Validation rows, and test images without a copy,
    stay as they were predicted. rows: of the training data, from the first; None: all.
    """
    votes = count_labels(data.train.images[:rows], data.train.labels[:rows], data.test.images)
    has_copy = votes.any(1)
    labelled = predictions.test.copy()
    labelled[has_copy] = normalized(predictions.test[has_copy] * PREDICTION + votes[has_copy])
    return replace(predictions, test=labelled), int(has_copy.sum())


def count_labels(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """How often the training data has each test image with each label, int64 (t, 7).

    train: uint8 (n, 48, 48); labels: int64 (n,); test: uint8 (t, 48, 48).
    """
    groups = copy_groups(np.concatenate([train, test]))
    counts = np.zeros((groups.max() + 1, NUM_CLASSES), np.int64)
    np.add.at(counts, (groups[: len(train)], labels), 1)
    return counts[groups[len(train) :]]


def label_near_copies(predictions: Predictions, labels: np.ndarray, near: NearCopies) -> tuple[Predictions, int]:
    """Lets each near copy raise the log-probability of its label by NEAR_COPY; the number of images with near copies.

    Validation rows, and test images without a near copy, stay as they were predicted. labels: of the training data.
    """
    votes = np.zeros(predictions.test.shape, np.int64)
    np.add.at(votes, (near.test_rows, labels[near.train_rows]), 1)
    has_copy = votes.any(1)
    behind = votes[has_copy] - votes[has_copy].max(1, keepdims=True)  # so that no power overflows
    labelled = predictions.test.copy()
    labelled[has_copy] = normalized(np.maximum(predictions.test[has_copy], 1e-6) * np.exp(NEAR_COPY * behind))
    return replace(predictions, test=labelled), int(has_copy.sum())


def normalized(probs: np.ndarray) -> np.ndarray:
    """Rows that sum to 1."""
    return probs / probs.sum(1, keepdims=True)
