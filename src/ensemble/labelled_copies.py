"""Test images that are also in train.csv: their labels there, in place of what the members predict.

568 of FER2013's 7,178 test images have the pixels of a training image. Images with equal pixels nearly always have
equal labels (97 % in train.csv, LOG.md); a network that generalizes gives a training image its own label less often.
Only a submission has these labels: predictions files have what the networks predict.
"""

from dataclasses import replace

import numpy as np

from src.data.competition import Competition
from src.data.split import copy_groups
from src.dataset import NUM_CLASSES
from src.ensemble.predictions import Predictions

PREDICTION = 0.1  # votes: it decides where two labels are equally frequent, and overrules no copy


def label_copies(predictions: Predictions, data: Competition, rows: int | None = None) -> tuple[Predictions, int]:
    """Lets the copies of each test image in the training data vote for its label; the number of images with copies.

    Each copy has a vote, and what was predicted has a tenth of one. Validation rows, and test images without a copy,
    stay as they were predicted. rows: of the training data, from the first; None: all.
    """
    votes = count_labels(data.train.images[:rows], data.train.labels[:rows], data.test.images)
    has_copy = votes.any(1)
    probs = predictions.test[has_copy] * PREDICTION + votes[has_copy]
    labelled = predictions.test.copy()
    labelled[has_copy] = probs / probs.sum(1, keepdims=True)
    return replace(predictions, test=labelled), int(has_copy.sum())


def count_labels(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """How often the training data has each test image with each label, int64 (t, 7).

    train: uint8 (n, 48, 48); labels: int64 (n,); test: uint8 (t, 48, 48).
    """
    groups = copy_groups(np.concatenate([train, test]))
    counts = np.zeros((groups.max() + 1, NUM_CLASSES), np.int64)
    np.add.at(counts, (groups[: len(train)], labels), 1)
    return counts[groups[len(train) :]]
