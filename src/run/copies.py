"""Test images that are also in train.csv: what a submission makes of them, by the setting `copies`.

predicted: nothing. labelled: exact copies get the label that they have there. labelled+near: near copies vote too.
Near copies are found once for a run, which takes minutes on a CPU, and kept in its folder.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from src.config import COPIES
from src.data.competition import Competition
from src.ensemble.labelled_copies import count_labels, label_copies, label_near_copies
from src.ensemble.near_copies import MAX_COMPARISONS, NearCopies, find_near_copies
from src.ensemble.near_copies_file import read_near_copies, write_near_copies
from src.ensemble.predictions import Predictions
from src.errors import UserError
from src.run.context import RunContext

PREDICTED, _, NEAR = COPIES
NO_NEAR_COPIES = NearCopies(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def near_copies_of_run(context: RunContext) -> NearCopies:
    """Those in the run's folder, where the first call leaves them; none where the recipe does not ask for them."""
    data, path = context.data, context.folder.near_copies
    if context.recipe.copies != NEAR:
        return NO_NEAR_COPIES
    while context.process.rank and not path.exists():  # the first rank searches
        context.signals.check()
        time.sleep(1)
    if path.exists():
        try:
            return read_near_copies(path, len(data.train), len(data.test))
        except UserError as error:
            context.log(f"warning: near copies are searched again, since their file cannot be used: {error}")
    found = search(data, context.inputs.device, context.log, context.recipe.max_train_rows, context.signals.check)
    context.disk.write(lambda: write_near_copies(path, found))
    return found


def search(
    data: Competition, device: torch.device, log: Callable, rows: int | None = None, on_part: Callable = lambda: None
) -> NearCopies:
    """Near copies of the test images that have no exact copy.

    rows: of the training data, from the first; None: all. on_part is called every few seconds; it may raise.
    """
    train, started = data.train.images[:rows], time.perf_counter()
    alone = np.flatnonzero(~count_labels(train, data.train.labels[:rows], data.test.images).any(1))
    if len(train) * len(alone) > MAX_COMPARISONS:
        log(f"near copies: not searched, since {len(train):,} x {len(alone):,} images are too many to compare")
        return NO_NEAR_COPIES
    log(f"near copies: comparing {len(alone):,} test images with {len(train):,} training images …")
    if device.type == "mps":
        device = torch.device("cpu")  # the search needs float64
    found = find_near_copies(train, data.test.images[alone], device, on_part)
    found = replace(found, test_rows=alone[found.test_rows])
    images, seconds = len(np.unique(found.test_rows)), time.perf_counter() - started
    log(f"near copies: {images:,} test images have {len(found.test_rows):,} in the training data ({seconds:.0f} s)")
    return found


def with_copies(
    predictions: Predictions, data: Competition, copies: str, near: NearCopies, rows: int | None = None
) -> tuple[Predictions, int, int]:
    """The predictions with what copies of training images say, and how many test images have exact and near copies.

    copies: the setting. rows: of the training data that have labels, from the first; None: all.
    """
    if copies == PREDICTED:
        return predictions, 0, 0
    predictions, number = label_near_copies(predictions, data.train.labels, near)
    return *label_copies(predictions, data, rows), number


def copies_lines(exact: int, near: int, rows: int) -> list[str]:
    """What was done with the test images, of which there are so many rows, that are also in the training data."""
    lines = (
        f"{exact:,} of {rows:,} test images are also in the training data: they have the label that they have there",
        f"{near:,} of {rows:,} test images nearly copy training images, whose labels count beside what was predicted",
    )
    return [line for line, count in zip(lines, (exact, near), strict=True) if count]
