"""Writes submission.csv: one label for each test image.

No document says what example_submission.csv looks like, so its columns and ids are copied. Without an example the
header is `id,emotion`, with ids from 0.
"""

import csv
from pathlib import Path

import numpy as np

from src.errors import UserError
from src.files import replacing
from src.submit.check import SubmissionTable, match_ids, parse_submission


def write_submission(path: str | Path, labels: np.ndarray, example: Path | None = None, form: str = "auto") -> None:
    """Writes labels, integers 0-6 of shape (n,) in test.csv's order, under a temporary name, then renames the file.

    form: "auto" copies the form of `example`, and without one is "kaggle"; "kaggle" is `id,emotion` with ids from 0;
    "no_header" is one label a line. Raises UserError for an example that `read_example` refuses.
    """
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
    match_ids(table, table.ids, table.ids, f"\n{advice}")
    return table


def _lines(labels: list[int], example: Path | None, form: str) -> list[tuple]:
    if form == "no_header":
        return [(label,) for label in labels]
    if form == "kaggle" or example is None:
        return [("id", "emotion"), *enumerate(labels)]
    table = read_example(example, len(labels))
    at = table.label_column
    rows = [(*cells[:at], label, *cells[at + 1 :]) for cells, label in zip(table.rows, labels, strict=True)]
    return [table.header, *rows] if table.header else rows
