"""Reads the cells of a small CSV text: a submission, its example, a leaderboard, a training history.

Limit: 2 MB of text; a submission of 7,178 rows has 56 KB. The cells take less than 200 MB of memory.
"""

import csv
import io
from pathlib import Path

from src.bounded_io import read_bytes
from src.errors import UserError

LIMIT = 2_000_000  # bytes


def read_cells(path: Path) -> list[tuple[str, ...]]:
    """The stripped cells of each line of a file, without blank lines at its end; at least one line.

    Raises UserError for anything but a regular file, for more than 2 MB, for no CSV text in UTF-8, for an empty file.
    """
    return parse_cells(read_bytes(path, LIMIT, "Give the path of a CSV file."), path.name)


def parse_cells(content: bytes, name: str) -> list[tuple[str, ...]]:
    """The cells of a CSV text, as `read_cells` returns them. `name` is the file's name in error messages."""
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        lines = [tuple(cell.strip() for cell in line) for line in csv.reader(text)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name} is not a CSV text: {error}. Replace the file.") from error
    while lines and not any(lines[-1]):
        lines.pop()
    if not lines:
        raise UserError(f"{name} is empty. Replace the file.")
    return lines


def shorten(text: str) -> str:
    """The first 40 characters of a text, with escapes for characters that cannot be printed."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")[1:-1]


def quote(cell: str) -> str:
    """A cell for an error message: shortened, in single quotes."""
    return f"'{shorten(cell)}'"
