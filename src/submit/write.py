"""Writes submission.csv: one label for each test image.

No document says what example_submission.csv looks like, so its columns and ids are copied. Without an example the
header is `id,emotion`, with ids from 0.
"""

import csv
from pathlib import Path

import numpy as np

from src.csv_cells import quote
from src.dataset import NUM_CLASSES
from src.errors import UserError
from src.files import replacing
from src.submit.check import SubmissionTable, parse_submission

FORMS = ("auto", "kaggle", "no_header")


def write_submission(path: str | Path, labels: np.ndarray, example: Path | None = None, form: str = "auto") -> None:
    """Writes labels, integers 0-6 of shape (n,) in test.csv's order, under a temporary name, then renames the file.

    form: "auto" copies the form of `example`, and without one is "kaggle"; "kaggle" is `id,emotion` with ids from 0;
    "no_header" is one label a line. Raises UserError for an unknown form and for an example that `read_example`
    refuses, ValueError for wrong labels, which only a defect of the caller can cause.
    """
    _check_labels(labels)
    if form not in FORMS:
        raise UserError(f"The form of the submission is {form!r}. Set it to one of {', '.join(FORMS)}.")
    lines, path = _lines(labels.tolist(), example, form), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def read_example(example: str | Path, rows: int) -> SubmissionTable:
    """The cells of example_submission.csv. Call it before training, so that a wrong example costs no time.

    Raises UserError for a file that `parse_submission` refuses, for a number of rows other than `rows`, and for a
    repeated id.
    """
    table = parse_submission(example)
    advice = "Set the submission's form to kaggle or no_header to write without it."
    if len(table.rows) != rows:
        raise UserError(f"{table.path.name} has {len(table.rows):,} rows; the test set has {rows:,}.\n{advice}")
    seen: set[str] = set()
    for row, name in enumerate(table.ids or ()):
        if name in seen:
            raise UserError(f"{table.location(row)}: the id {quote(name)} occurs twice.\n{advice}")
        seen.add(name)
    return table


def _check_labels(labels: np.ndarray) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(f"labels must be integers of shape (n,), not {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= NUM_CLASSES:
        raise ValueError(f"labels must be 0-6, not {labels.min()} to {labels.max()}")


def _lines(labels: list[int], example: Path | None, form: str) -> list[tuple]:
    if form == "no_header":
        return [(label,) for label in labels]
    if form == "kaggle" or example is None:
        return [("id", "emotion"), *enumerate(labels)]
    table = read_example(example, len(labels))
    at = table.label_column
    rows = [(*cells[:at], label, *cells[at + 1 :]) for cells, label in zip(table.rows, labels, strict=True)]
    return [table.header, *rows] if table.header else rows
