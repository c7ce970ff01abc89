"""Reads and checks a submission: every test image once, each with a label from 0 to 6.

Three forms are known: the header `id,emotion` with ids from 0 or from 1, the hosts' own of 2013 (no header, one
integer a line), and whatever columns and ids example_submission.csv shows, where the competition's folder has one.
Rows with ids are put in id order, since a scorer that goes by id does the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.csv_cells import read_cells, short, shown
from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.errors import UserError

LABEL_COLUMNS = ("emotion", "label", "class")
_DIGITS = 18  # of an id: Python refuses to read an integer of thousands of digits


@dataclass(frozen=True)
class Sheet:
    """A submission or an example as it stands in its file: cells are text, every row as wide as the others."""

    path: Path
    header: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]

    @property
    def target(self) -> int:
        """The index of the column that holds the labels: the one so named, or else the last."""
        names = self.columns
        return next((names.index(name) for name in LABEL_COLUMNS if name in names), len(self.rows[0]) - 1)

    @property
    def ids(self) -> list[str] | None:
        """The first column beside the labels, as text; None where the labels stand alone."""
        if len(self.rows[0]) == 1:
            return None
        column = 1 if self.target == 0 else 0
        return [row[column] for row in self.rows]

    @property
    def columns(self) -> tuple[str, ...]:
        """The header in lower case, to compare with; empty without a header."""
        return tuple(name.casefold() for name in self.header or ())

    def line(self, row: int) -> str:
        """Where row number `row`, counted from 0, stands: the file's name and the line counted from 1."""
        return f"{self.path.name}, line {row + (2 if self.header else 1)}"


@dataclass(frozen=True)
class Checked:
    """What a valid submission holds: its form in words, its rows, and how often each of the 7 classes is predicted."""

    form: str
    rows: int
    counts: tuple[int, ...]
    warnings: tuple[str, ...]


def parse(path: str | Path) -> Sheet:
    """The cells of a submission or example. A first line of integers alone is a row, anything else a header.

    UserError: the file cannot be read as text, is larger than 2 MB, is empty, has a header only, or lines of different
    widths.
    """
    path = Path(path)
    lines = read_cells(path)
    header = None if all(_is_integer(cell) for cell in lines[0]) else lines[0]
    rows = lines[1:] if header else lines
    if not rows:
        raise UserError(f"{path.name} has a header and no rows. Replace the file.")
    sheet = Sheet(path, header, tuple(rows))
    _need_even_rows(sheet, len(lines[0]))
    return sheet


def read(path: str | Path, example: Path | None = None) -> np.ndarray:
    """The labels of a submission in id order, int64 (n,), values 0-6. `example` is example_submission.csv, if any.

    UserError, with file and line: unknown columns, an id that is missing, doubled or not expected, a label that is
    not an integer from 0 to 6.
    """
    return _ordered_labels(parse(path), parse(example) if example else None)


def check(path: str | Path, rows: int, example: Path | None = None) -> Checked:
    """Reads a submission for `rows` test images and says what it holds; UserError as in `read`, or for another count.

    What is valid but hardly meant (one class only, a class never predicted, other columns than the example's) is a
    warning.
    """
    sheet, shown = parse(path), parse(example) if example else None
    labels = _ordered_labels(sheet, shown)
    if len(labels) != rows:
        raise UserError(f"{sheet.path.name} has {len(labels):,} rows; the test set has {rows:,}. Write it anew.")
    counts = np.bincount(labels, minlength=NUM_CLASSES)
    warnings = _warn_of_columns(sheet, shown) + _warn_of_classes(counts)
    return Checked(_in_words(sheet), rows, tuple(counts.tolist()), warnings)


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isdecimal() and digits.isascii() and len(digits) <= _DIGITS


def _need_even_rows(sheet: Sheet, width: int) -> None:
    for row, cells in enumerate(sheet.rows):
        if len(cells) != width:
            raise UserError(
                f"{sheet.line(row)}: {len(cells)} columns, where the first line has {width}. Mend that line."
            )
    if sheet.header is None and width > 1:
        raise UserError(
            f"{sheet.path.name} has {width} columns and no header. Put the header id,emotion on its first line."
        )


def _ordered_labels(sheet: Sheet, example: Sheet | None) -> np.ndarray:
    positions = _positions(sheet, example)
    labels = np.empty(len(positions), np.int64)
    labels[positions] = _labels(sheet)
    return labels


def _labels(sheet: Sheet) -> list[int]:
    known = {str(label): label for label in range(NUM_CLASSES)}
    for row, cells in enumerate(sheet.rows):
        if cells[sheet.target] not in known:
            raise UserError(f"{sheet.line(row)}: the label is {shown(cells[sheet.target])}. Labels are integers 0-6.")
    return [known[cells[sheet.target]] for cells in sheet.rows]


def _positions(sheet: Sheet, example: Sheet | None) -> Sequence[int]:
    """Which test row, counted from 0, each row of the sheet stands for."""
    if example is not None and sheet.header is not None and sheet.columns == example.columns:
        return _in_order_of(sheet, sheet.ids, example.ids)
    if sheet.header is None:
        return range(len(sheet.rows))
    if sheet.columns == ("id", "emotion"):
        return _in_order_of(sheet, *_numbered(sheet))
    columns = shown(",".join(sheet.header))
    raise UserError(
        f"{sheet.path.name}: the columns are {columns}. Known are 'id,emotion', one label a line\n"
        "without a header, and the columns of example_submission.csv: write the file in one of these forms."
    )


def _numbered(sheet: Sheet) -> tuple[list[str], list[str]]:
    """The ids without leading zeros, and those expected: from 0 where a 0 is among them, else from 1."""
    for row, name in enumerate(sheet.ids):
        if not _is_integer(name):
            raise UserError(
                f"{sheet.line(row)}: the id is {shown(name)}. Ids are integers in test.csv's order, from 0 or from 1."
            )
    ids = [str(int(name)) for name in sheet.ids]
    start = 0 if "0" in ids else 1
    return ids, [str(start + row) for row in range(len(ids))]


def _in_order_of(sheet: Sheet, ids: list[str] | None, expected: list[str] | None) -> Sequence[int]:
    if ids is None or expected is None:
        return range(len(sheet.rows))
    place = {name: position for position, name in enumerate(expected)}
    if len(place) < len(expected):
        raise UserError("The example gives an id twice: nobody can say which row is meant. Take it away or replace it.")
    given = set(ids)
    missing = next((f"; {shown(name)} is missing" for name in expected if name not in given), "")
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if name in seen:
            raise UserError(
                f"{sheet.line(row)}: the id {shown(name)} stands there a second time{missing}. Give each id once."
            )
        if name not in place:
            known = f"{shown(expected[0])} to {shown(expected[-1])}"
            raise UserError(f"{sheet.line(row)}: the id {shown(name)} is not one of {known}{missing}.")
        seen.add(name)
    if missing:
        raise UserError(
            f"{sheet.path.name}: {len(ids):,} ids, where {len(expected):,} are expected{missing}. Add the rows."
        )
    return [place[name] for name in ids]


def _in_words(sheet: Sheet) -> str:
    if sheet.header is None:
        return "one label a line, no header"
    if sheet.ids is None:
        return short(",".join(sheet.header))
    numbers = all(_is_integer(name) for name in sheet.ids)
    first = min(map(int, sheet.ids)) if numbers else short(sheet.ids[0])
    return f"{short(','.join(sheet.header))}, ids from {first}"


def _warn_of_columns(sheet: Sheet, example: Sheet | None) -> tuple[str, ...]:
    if example is None or sheet.columns == example.columns:
        return ()
    return (f"the form is '{_in_words(sheet)}', but {example.path.name} shows '{_in_words(example)}'",)


def _warn_of_classes(counts: np.ndarray) -> tuple[str, ...]:
    predicted = [name for name, count in zip(CLASS_NAMES, counts, strict=True) if count]
    if len(predicted) == 1:
        return (f"every row is {predicted[0]}",)
    absent = [name for name in CLASS_NAMES if name not in predicted]
    return (f"never predicted: {', '.join(absent)}",) if absent else ()
