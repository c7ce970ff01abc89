"""Decodes the competition's CSV files: a row holds one face, 2,304 pixels of 0-255 separated by spaces.

The real files have 300 MB of text with 83 million numbers. `np.fromstring` parses them, one row at a time. It accepts
signs, and numpy 2.0 stops at other characters with only a warning: each row is first checked to have digits and spaces.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

import numpy as np

from src.bounded_io import archive_kind
from src.dataset import IMAGE_SIZE, NUM_CLASSES
from src.errors import UserError

USAGES = ("Training", "PublicTest", "PrivateTest")
UNREAD = -1  # the label of a row whose label was not read

UNPACK = "Unpack it, and remove the archive; a zip: python -m zipfile -e FILE FOLDER; a .gz: gzip -d FILE."

_PIXELS = IMAGE_SIZE * IMAGE_SIZE
_MAX_FILE_BYTES = 1_000_000_000  # at most 217,000 rows; the largest real file has 301 million bytes
_MAX_LINE_BYTES = 64 * 1024  # the longest valid row has fewer than 10,000
_LABELS = {str(label).encode(): label for label in range(NUM_CLASSES)}
_USAGES = {usage.encode(): number for number, usage in enumerate(USAGES)}
_INDEX = re.compile(r"(unnamed: \d+)?")  # how pandas names a column of row numbers, written and read again
_ADVICE = "Download the file again, or remove it if it is not the competition's."


class DamagedError(UserError):
    """A later row is bad, of a file whose header and first row are the competition's."""


@dataclass(frozen=True)
class Table:
    """The rows of one file, in its order: images uint8 (n, 48, 48), labels int64 (n,), usage uint8 (n,) or None.

    `labels` is UNREAD where no label was read. `usage` indexes USAGES; it is None if the file has no such column.
    """

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray | None


def read_table(
    stream: BinaryIO, name: str, columns: tuple[str, ...], hide_test_labels: bool, rows: int | None = None
) -> Table:
    """Decodes a CSV stream whose header has exactly `columns`, in lower case here, in any order and case there.

    name: the file's name in messages. hide_test_labels: the labels of rows that are not Training are never read.
    rows: read the first so many only. Memory: 2,304 bytes a row. Raises UserError, with file and row, for any other
    format, a line of more than 64 KiB and more than 1 GB of text; DamagedError from the second row on.
    """
    lines = _read_lines(stream, name)
    found = _parse_header(next(lines, b""), name, columns)
    images, labels, usages = bytearray(), [], []
    for row, line in enumerate(islice(lines, rows), 1):
        try:
            fields = _split_line(line, found)
            usage = _find(_USAGES, fields.get("usage", b"Training"), "Usage", f"one of {', '.join(USAGES)}")
            hidden = "emotion" not in fields or (hide_test_labels and usage)  # usage 0: Training
            labels.append(UNREAD if hidden else _find(_LABELS, fields["emotion"], "label", f"0 to {NUM_CLASSES - 1}"))
            usages.append(usage)
            images += _parse_pixels(fields["pixels"])
        except ValueError as error:
            kind = UserError if row == 1 else DamagedError
            raise kind(f"{name}: row {row:,} {error}.\n{_ADVICE}") from None
    if not labels:
        raise UserError(f"{name}: the file has a header and no rows.\n{_ADVICE}")
    pixels = np.frombuffer(images, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return Table(pixels, np.array(labels, np.int64), np.array(usages, np.uint8) if "usage" in found else None)


def _read_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines that are not blank."""
    left, error = _MAX_FILE_BYTES, UserError
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        if error is UserError:
            _check_start(line, name)
        left -= len(line)
        if len(line) > _MAX_LINE_BYTES:
            raise error(f"{name}: a line has more than {_MAX_LINE_BYTES:,} bytes.\n{_ADVICE}")
        if left < 0:
            raise error(f"{name}: the text has more than {_MAX_FILE_BYTES:,} bytes.\n{_ADVICE}")
        if not line.isspace():
            yield line
        error = DamagedError


def _check_start(line: bytes, name: str) -> None:
    """Raises UserError for a first line that shows another kind of file."""
    if kind := archive_kind(line):
        raise UserError(f"{name}: is a {kind} archive, whatever its name.\n{UNPACK}")
    if b"\r" in line.rstrip(b"\r\n"):
        raise UserError(f"{name}: its lines end in CR alone; expected LF or CRLF.\nWrite it with other line ends.")


def _parse_header(line: bytes, name: str, expected: tuple[str, ...]) -> tuple[str, ...]:
    """The column names in the header's order, in lower case; icml_face_data.csv has spaces before its names."""
    line = line.removeprefix(b"\xef\xbb\xbf")
    if not line:
        raise UserError(f"{name}: the file is empty.\n{_ADVICE}")
    found = tuple(_strip(field).decode("utf-8", "replace").lower() for field in line.split(b","))
    if sorted(found) == sorted(expected):
        return found
    message = f"{name}: the header is {_quote(line.rstrip(), 80)}; expected the columns {', '.join(expected)}"
    if "emotion" in found and "emotion" not in expected:
        raise UserError(f"{message}.\nThe competition's test.csv has no labels: replace this file by it.")
    if "pixels" in found and any(map(_INDEX.fullmatch, found)):
        message += ", without the nameless index column"
        raise UserError(f"{message}.\nWrite the file without row numbers, with pandas by to_csv(…, index=False).")
    if "pixels" in found and set(found) < set(expected):
        raise UserError(f"{message}.\nIt may be train.csv or test.csv alone: give the folder that has both.")
    raise UserError(f"{message}.\n{_ADVICE}")


def _split_line(line: bytes, columns: tuple[str, ...]) -> dict[str, bytes]:
    """Column name → field. No field of this format contains a comma, so quotes need no parsing."""
    fields = line.split(b",")
    if len(fields) != len(columns):
        raise ValueError(f"has {len(fields):,} columns; expected {len(columns)}")
    return dict(zip(columns, map(_strip, fields), strict=True))


def _find(known: dict[bytes, int], field: bytes, name: str, expected: str) -> int:
    if field not in known:
        raise ValueError(f"has {name} {_quote(field)}; expected {expected}")
    return known[field]


def _parse_pixels(field: bytes) -> bytes:
    """2,304 bytes, row by row."""
    if field.translate(None, b"0123456789 \t\r"):
        word = next((word for word in field.split() if not word.isdigit()), field)
        raise ValueError(f"has pixel {_quote(word)}; expected 0 to 255")
    values = np.fromstring(field, np.int64, sep=" ")  # of larger numbers than int64's it makes int64's largest
    if len(values) != _PIXELS:
        raise ValueError(f"has {len(values):,} pixels; expected {_PIXELS:,}")
    if values.max() > 255:
        raise ValueError(f"has pixel {_quote(field.split()[values.argmax()])}; expected 0 to 255")
    return values.astype(np.uint8).tobytes()


def _strip(field: bytes) -> bytes:
    return field.strip(b' "\t\r\n')


def _quote(text: bytes, length: int = 24) -> str:
    """The start of a text that may hold anything, as printable ASCII in single quotes."""
    shown = ascii(text[:length].decode("utf-8", "backslashreplace"))[1:-1].replace("\\\\", "\\")
    return f"'{shown}{'…' if len(text) > length else ''}'"
