"""Reads the cells of a small CSV text, also zipped: a submission, its example, a leaderboard, a training history.

Limit: 2 MB of file and of text; a submission of 7,178 rows has 56 KB. The cells take less than 200 MB of memory.
"""

import csv
import io
from pathlib import Path

from src.bounded_io import archive_kind, read_bytes, unzip
from src.errors import UserError

LIMIT = 2_000_000  # bytes


def read_cells(path: Path, advice: str = "Give the path of a CSV file.") -> list[tuple[str, ...]]:
    """The stripped cells of each line of a file, without blank lines at its end; at least one line.

    A zip of one CSV file is unpacked in memory. Raises UserError for anything else but a regular file, for more than
    2 MB, for no CSV text in UTF-8, for an empty file.
    """
    content = read_bytes(path, LIMIT, advice)
    kind = archive_kind(content)
    if kind == "zip":
        try:
            members = unzip(content, is_csv, LIMIT)
            if len(members) != 1:
                raise ValueError(f"it holds {', '.join(map(shorten, members)) or 'no CSV file'}")
            (content,) = members.values()
        except ValueError as error:
            raise UserError(f"{path}: cannot be read as a zip with one CSV file ({error}).\n{advice}") from error
    elif kind:
        raise UserError(f"{path}: is a {kind} archive.\nUnpack it; a zip of one CSV file can be read as it is.")
    return parse_cells(content, path.name)


def is_csv(name: str) -> bool:
    """Whether a zip's member is a CSV file, and none that macOS adds."""
    *folders, file = name.split("/")
    return file.lower().endswith(".csv") and not file.startswith("._") and "__MACOSX" not in folders


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
