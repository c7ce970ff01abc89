"""Reads and checks a submission: each test image once, with a label from 0 to 6.

Three forms are accepted: the header `id,emotion` with ids from 0 or from 1; no header and one label a line (the form
of the competition of 2013); the columns and ids of example_submission.csv, if the competition's folder has one.
Rows with ids are sorted by id, because a scorer that goes by id does the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.csv_cells import quote, read_cells, shorten
from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.errors import UserError

LABEL_COLUMNS = ("emotion", "label", "class")


@dataclass(frozen=True)
class SubmissionTable:
    """The cells of a submission or an example, as text: at least one row, all of the same number of cells."""

    path: Path
    header: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The header in lower case; empty without a header."""
        return tuple(name.casefold() for name in self.header or ())

    @property
    def label_column(self) -> int:
        """The index of the label column: the first of LABEL_COLUMNS that the header has, else the last column."""
        return next((self.columns.index(n) for n in LABEL_COLUMNS if n in self.columns), len(self.rows[0]) - 1)

    @property
    def ids(self) -> list[str] | None:
        """The first column that does not hold the labels; None if there is no other column."""
        if len(self.rows[0]) == 1:
            return None
        column = 1 if self.label_column == 0 else 0
        return [row[column] for row in self.rows]

    def location(self, row: int) -> str:
        """File name and line (from 1) of a row (from 0), for error messages."""
        return f"{self.path.name}, line {row + (2 if self.header else 1)}"


@dataclass(frozen=True)
class CheckedSubmission:
    """A valid submission: labels int64 (n,) in test.csv's order, its form in words, and warnings."""

    labels: np.ndarray
    form: str
    warnings: tuple[str, ...]

    @property
    def rows(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many rows have each of the 7 labels."""
        return tuple(np.bincount(self.labels, minlength=NUM_CLASSES).tolist())


def check_submission(path: str | Path, rows: int, example: Path | None = None) -> CheckedSubmission:
    """Reads a submission for `rows` test images. `example` is example_submission.csv, if there is one.

    Raises UserError, with file and line, for unknown columns, for an id that is missing, repeated or unknown, for a
    label other than an integer from 0 to 6, and for another number of rows. Warns of a class that is never predicted
    and of columns that differ from the example's.
    """
    table, pattern = parse_submission(path), parse_submission(example) if example else None
    labels = np.empty(len(table.rows), np.int64)
    labels[_test_rows(table, pattern)] = _labels(table)
    if len(labels) != rows:
        raise UserError(f"{table.path.name} has {len(labels):,} rows; the test set has {rows:,}. Write it again.")
    return CheckedSubmission(labels, _form(table), _warnings(labels, table, pattern))


def parse_submission(path: str | Path) -> SubmissionTable:
    """The cells of a submission or example. A first line of integers is a row; any other first line is the header.

    Raises UserError for a file that `read_cells` refuses, for a header without rows, and for lines of different widths.
    """
    path = Path(path)
    lines = read_cells(path)
    header = None if all(cell.removeprefix("-").isdecimal() for cell in lines[0]) else lines[0]
    table = SubmissionTable(path, header, tuple(lines[1:] if header else lines))
    if not table.rows:
        raise UserError(f"{path.name} has a header and no rows. Replace the file.")
    width = len(lines[0])
    for row, cells in enumerate(table.rows):
        if len(cells) != width:
            raise UserError(f"{table.location(row)}: {len(cells)} columns; the first line has {width}. Correct it.")
    if header is None and width > 1:
        raise UserError(f"{path.name} has {width} columns and no header. Put the header id,emotion on its first line.")
    return table


def _labels(table: SubmissionTable) -> list[int]:
    known = {str(label): label for label in range(NUM_CLASSES)}
    cells = [row[table.label_column] for row in table.rows]
    for row, cell in enumerate(cells):
        if cell not in known:
            raise UserError(f"{table.location(row)}: the label is {quote(cell)}. Labels are integers from 0 to 6.")
    return [known[cell] for cell in cells]


def _test_rows(table: SubmissionTable, example: SubmissionTable | None) -> Sequence[int]:
    """The test row, from 0, that each row of the table belongs to."""
    if table.header is None:
        return range(len(table.rows))
    if example is not None and table.columns == example.columns:
        match_ids(example, example.ids, example.ids)
        return match_ids(table, table.ids, example.ids)
    if table.columns == ("id", "emotion"):
        ids = [name.lstrip("0") or name[:1] for name in table.ids]  # without leading zeros
        first_id = 0 if "0" in ids else 1
        return match_ids(table, ids, [str(first_id + row) for row in range(len(ids))])
    raise UserError(
        f"{table.path.name}: the columns are {quote(','.join(table.header))}. Accepted are 'id,emotion', one label a "
        "line\nwithout a header, and the columns of example_submission.csv: write the file in one of these forms."
    )


def match_ids(
    table: SubmissionTable, ids: list[str] | None, expected: list[str] | None, advice: str = " Give each id once."
) -> Sequence[int]:
    """The position of each row's id among the expected ids. Raises UserError unless each occurs once; None: no ids."""
    if ids is None or expected is None:
        return range(len(table.rows))
    position, seen = {name: index for index, name in enumerate(expected)}, set()
    for row, name in enumerate(ids):
        if name in seen or name not in position:
            known = f"is not one of {quote(expected[0])} to {quote(expected[-1])}"
            problem = "occurs twice" if name in seen else known
            raise UserError(f"{table.location(row)}: the id {quote(name)} {problem}.{advice}")
        seen.add(name)
    if len(seen) < len(expected):
        absent = next(name for name in expected if name not in seen)
        raise UserError(f"{table.path.name}: {len(ids):,} ids; expected {len(expected):,}; {quote(absent)} is missing.")
    return [position[name] for name in ids]


def _form(table: SubmissionTable) -> str:
    if table.header is None:
        return "one label a line, no header"
    header = shorten(",".join(table.header))
    if table.ids is None:
        return header
    return f"{header}, ids from {next((first for first in '01' if first in table.ids), shorten(table.ids[0]))}"


def _warnings(labels: np.ndarray, table: SubmissionTable, example: SubmissionTable | None) -> tuple[str, ...]:
    warnings, absent = [], [name for label, name in enumerate(CLASS_NAMES) if label not in labels]
    if example is not None and table.columns != example.columns:
        warnings.append(f"the form is '{_form(table)}', but {example.path.name} has '{_form(example)}'")
    if len(absent) == NUM_CLASSES - 1:
        warnings.append(f"every row is {CLASS_NAMES[labels[0]]}")
    elif absent:
        warnings.append(f"never predicted: {', '.join(absent)}")
    return tuple(warnings)
