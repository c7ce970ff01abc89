"""The cells of a small CSV text: a submission, its example, a leaderboard, a history.

Bound: 2 MB of text, where 7,178 rows have 56 KB; its cells take under 200 MB, however it is cut up.
"""

import csv
import io
from pathlib import Path

from src.errors import UserError
from src.untrusted import read_bytes

LIMIT = 2_000_000  # bytes
_SHOWN = 40


def read_cells(path: Path) -> list[tuple[str, ...]]:
    """The stripped cells of each line of a file, without the blank lines at its end; at least one line.

    UserError: no regular file, more than 2 MB, no CSV text in UTF-8, or nothing in it.
    """
    return parse_cells(read_bytes(path, LIMIT, "Give the path of a CSV file."), path.name)


def parse_cells(content: bytes, name: str) -> list[tuple[str, ...]]:
    """The cells of a CSV text, as in `read_cells`; `name` stands in the messages."""
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


def short(text: str) -> str:
    """The start of a text, with escapes for what is not printable."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")[1:-1]


def shown(cell: str) -> str:
    """A cell as a message shows it: its start, in quotes."""
    return f"'{short(cell)}'"
