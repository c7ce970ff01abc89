"""Made-up data with copies, conflicts, near copies and flat images, in a folder whose name looks like HTML."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.competition_files import csv_text, put

EVIL = "<img src=x onerror=alert(1)>&amp;"
TRAIN, TEST = 210, 40  # different images, before anything is planted


def blurs(n: int, seed: int) -> np.ndarray:
    """Random smooth images, uint8 (n, 48, 48): no two are alike, and none is flat."""
    spots = np.random.default_rng(seed).integers(20, 236, (n, 6, 6)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(part).resize((48, 48), Image.Resampling.BICUBIC)) for part in spots])


def darker(image: np.ndarray) -> np.ndarray:
    """A near copy of the image."""
    return (image * 0.9).astype(np.uint8)


def planted_train() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels: rows 210-212 copy rows 0, 0 and 1, row 212 with another label; row 213 is a near copy of row 2
    with another label; rows 214 and 215 are flat.
    """
    images, labels = blurs(TRAIN, 1), np.arange(TRAIN) % 7
    flat = np.full((2, 48, 48), 9, np.uint8) + np.arange(2, dtype=np.uint8).reshape(2, 1, 1)
    images = np.concatenate([images, images[[0, 0, 1]], darker(images[2])[None], flat])
    return images, np.concatenate([labels, labels[[0, 0]], [labels[1] + 1, labels[2] + 1, 0, 0]])


def planted_test() -> np.ndarray:
    """Rows 40 and 41 copy training rows 0 and 5, row 42 copies row 0, row 43 is a near copy of training row 6."""
    train, test = blurs(TRAIN, 1), blurs(TEST, 2)
    return np.concatenate([test, train[[0, 5]], test[[0]], darker(train[6])[None]])


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> Path:
    """train.csv and test.csv with what was planted."""
    folder = tmp_path_factory.mktemp("planted") / EVIL
    images, labels = planted_train()
    test = planted_test()
    put(folder / "train.csv", csv_text("emotion,pixels", (images, labels, np.zeros(len(images), int))))
    put(folder / "test.csv", csv_text("pixels", (test, np.zeros(len(test), int), np.zeros(len(test), int))))
    return folder
