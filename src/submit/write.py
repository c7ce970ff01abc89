"""Writes submission.csv: one label a test image, in the form that the competition's own example shows.

What example_submission.csv looks like is stated nowhere, so its columns and ids are followed as they stand. Without
one the header is `id,emotion` with ids from 0; the hosts' form of 2013 (no header, one integer a line) is a setting.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from src.csv_cells import shown
from src.dataset import NUM_CLASSES
from src.errors import UserError
from src.files import replacing
from src.submit.check import Sheet, parse

FORMS = ("auto", "kaggle", "no_header")


def write(path: str | Path, labels: np.ndarray, example: Path | None = None, form: str = "auto") -> None:
    """Writes `labels`, integers 0-6 of shape (n,) in test.csv's order, to `path`; a reader never sees half a file.

    `form`: "auto" follows `example` where given, else is "kaggle"; "kaggle" is `id,emotion` with ids from 0;
    "no_header" is one integer a line. UserError: an unknown form, or an example that `follow` refuses. ValueError:
    labels that are no labels, which is a defect of the caller.
    """
    labels = _valid(labels)
    if form not in FORMS:
        raise UserError(f"The form of the submission is {form!r}. Set it to one of {', '.join(FORMS)}.")
    _replace(Path(path), _lines(labels, example, form))


def follow(example: str | Path, rows: int) -> Sheet:
    """The example as a pattern for `rows` test images; worth asking before training, when a mend is still cheap.

    UserError: it is empty, is no CSV text, has another number of rows, or gives an id twice.
    """
    sheet = parse(example)
    advice = "Set the submission's form to kaggle or no_header to write without it."
    if len(sheet.rows) != rows:
        raise UserError(f"{sheet.path.name} has {len(sheet.rows):,} rows; the test set has {rows:,}.\n{advice}")
    seen: set[str] = set()
    for row, name in enumerate(sheet.ids or ()):
        if name in seen:
            raise UserError(f"{sheet.line(row)}: the id {shown(name)} stands there a second time.\n{advice}")
        seen.add(name)
    return sheet


def _valid(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(f"labels must be integers of shape (n,), not {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= NUM_CLASSES:
        wrong = int(np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))[0])
        raise ValueError(f"labels must be 0-6; row {wrong} is {labels[wrong]}")
    return labels


def _lines(labels: np.ndarray, example: Path | None, form: str) -> list[tuple]:
    if form == "no_header":
        return [(label,) for label in labels.tolist()]
    if form == "kaggle" or example is None:
        return [("id", "emotion"), *enumerate(labels.tolist())]
    sheet = follow(example, len(labels))
    at = sheet.target
    rows = [(*cells[:at], label, *cells[at + 1 :]) for cells, label in zip(sheet.rows, labels.tolist(), strict=True)]
    return [sheet.header, *rows] if sheet.header else rows


def _replace(path: Path, lines: Iterable[tuple]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
