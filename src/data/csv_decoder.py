"""CSV bytes to arrays: one row a face, 2,304 pixels of 0-255 separated by spaces. The real files have 300 MB of text.

The 83 million numbers of the competition are the whole cost, so they are decoded by numpy, a quarter of a megabyte of
whole lines at a time, in threads (its loops release the lock). That path is strict: it takes digits, single separators
and exact counts, and nothing else. A block that it refuses is tried again with its spacing put in order, and then goes
row by row through plain Python, which says what is wrong and where.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from src.dataset import IMAGE_SIZE, NUM_CLASSES
from src.errors import UserError

USAGES = ("Training", "PublicTest", "PrivateTest")
PIXELS = IMAGE_SIZE * IMAGE_SIZE
UNREAD = -1  # the label of a row whose label was not looked at

_CHUNK = 256 * 1024  # bytes: the temporary arrays of a block, ten times as large, stay near the cache
_TEXT_LIMIT = 1_000_000_000  # bytes of one file: at most 217,000 rows
_LINE_LIMIT = 64 * 1024  # bytes: the longest honest row has 9,232 and a few
_WORKERS = min(4, 1 + (os.cpu_count() or 1))  # one waits for the lock now and then
_LABELS = {str(label).encode(): label for label in range(NUM_CLASSES)}
_USAGES = {usage.encode(): number for number, usage in enumerate(USAGES)}
_AGAIN = "Download the file again, or remove it if it is not the competition's."


@dataclass(frozen=True)
class Table:
    """The rows of one file, in its order: images uint8 (n, 48, 48), labels int64 (n,), usage uint8 (n,).

    `labels` is UNREAD where the label was not looked at, everywhere if the file has none. `usage` indexes USAGES, and
    is None if the file has no such column.
    """

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray | None


@dataclass(frozen=True)
class _Layout:
    """Where a file keeps what: its name for messages, its columns in order, and whether test labels stay unread."""

    name: str
    columns: tuple[str, ...]
    sealed: bool


@dataclass(frozen=True)
class _Block:
    """Some consecutive lines that are not blank; `first` is the 1-based data row of the first one."""

    first: int
    lines: list[bytes]


def read_table(stream: BinaryIO, name: str, columns: tuple[str, ...], *, sealed: bool) -> Table:
    """Decodes a CSV stream whose header has exactly `columns` (in any order, spaced, quoted, in any case).

    `sealed` leaves the labels of the rows that are not Training unread, whatever stands there. UserError, with file and
    row, for anything that is not the competition's format, and for more than a gigabyte of text. Memory: the result
    twice and some megabytes, so 1.1 GB at most, whatever the file holds.
    """
    chunks = _chunks(stream, name)
    header, rest = _header(next(chunks, b""), name)
    _keep_freed_memory()
    layout = _Layout(name, _columns(header, name, columns), sealed)
    parts = list(_in_threads(_blocks(rest, chunks, name), layout))
    if not parts:
        raise UserError(f"{name}: there is a header and no row under it.\n{_AGAIN}")
    usage = None if parts[0].usage is None else np.concatenate([part.usage for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    return Table(np.concatenate([part.images for part in parts]), labels, usage)


def _keep_freed_memory() -> None:
    """Makes glibc keep the pages of temporary arrays; elsewhere it does nothing.

    Freeing one large array raises the size (to its own, 32 MB at most) from which malloc fetches fresh pages for each
    array and hands them back at once. Without it 440,000 page faults take half of the time: 2.9 s instead of 1.4 s.
    """
    np.empty(16 << 20, np.uint8)


# ---------------------------------------------------------------------------------------------- lines


def _chunks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Pieces of whole lines. Only the piece that ends the file may lack its line end."""
    carry, left = b"", _TEXT_LIMIT
    while piece := stream.read(_CHUNK):
        left -= len(piece)
        if left < 0:
            raise UserError(
                f"{name}: there are more than {_TEXT_LIMIT:,} bytes of text, where 300 million do.\n{_AGAIN}"
            )
        piece = carry + piece
        cut = piece.rfind(b"\n") + 1
        carry = piece[cut:]
        if len(carry) > _LINE_LIMIT:
            raise UserError(f"{name}: a line is longer than {_LINE_LIMIT:,} bytes; a row has under 10,000.\n{_AGAIN}")
        if cut:
            yield piece[:cut]
    if carry:
        yield carry


def _header(first: bytes, name: str) -> tuple[bytes, bytes]:
    """The first line and what follows it in the first chunk."""
    header, _, rest = first.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    if not header.strip() and not rest.strip():
        raise UserError(f"{name}: the file is empty.\n{_AGAIN}")
    return header, rest


def _columns(header: bytes, name: str, due: tuple[str, ...]) -> tuple[str, ...]:
    """The names in the header's order, in lower case; icml_face_data.csv has spaces before its names."""
    found = tuple(_show(field.strip(b' "\t\r')).lower() for field in header.split(b","))
    if sorted(found) == sorted(due):
        return found
    shown = f"{name}: the header is '{_show(header, 80)}', where the columns {', '.join(due)} are due."
    if "emotion" in found and "emotion" not in due:
        raise UserError(
            f"{shown}\nThis is not the competition's test.csv: no label of the test data has a place in it."
        )
    raise UserError(f"{shown}\n{_AGAIN}")


def _blocks(rest: bytes, chunks: Iterator[bytes], name: str) -> Iterator[_Block]:
    row = 1
    for chunk in _chain(rest, chunks):
        if chunk.isspace():  # a gigabyte of line ends goes by without being split
            continue
        lines = [line for line in chunk.split(b"\n") if line and not line.isspace()]
        if not lines:
            continue
        longest = max(map(len, lines))
        if longest > _LINE_LIMIT:
            at = row + next(i for i, line in enumerate(lines) if len(line) == longest)
            raise _wrong(name, at, f"is a line of {longest:,} bytes, where a row has fewer than 10,000")
        yield _Block(row, lines)
        row += len(lines)


def _chain(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _in_threads(blocks: Iterator[_Block], layout: _Layout) -> Iterator[Table]:
    """Decodes blocks side by side, yields them in order; few are under way at once, so memory stays bounded."""
    under_way: deque[Future[Table]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for block in blocks:
            under_way.append(pool.submit(_decode_block, block, layout))
            if len(under_way) > 2 * _WORKERS:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


# ----------------------------------------------------------------------------------------------- rows


def _decode_block(block: _Block, layout: _Layout) -> Table:
    fields = _fields(block, layout)
    usage = _usages(fields["usage"], block.first, layout) if "usage" in fields else None
    labels = _labels(fields.get("emotion"), usage, block, layout)
    texts = fields["pixels"]
    pixels = _pixels_fast(b"\n".join(texts) + b"\n", len(texts))
    if pixels is None:  # two spaces between pixels would otherwise make 35,887 rows take a minute
        pixels = _pixels_fast(b"\n".join(b" ".join(text.split()) for text in texts) + b"\n", len(texts))
    if pixels is None:
        pixels = np.stack([_pixels_slow(text, block.first + i, layout.name) for i, text in enumerate(texts)])
    return Table(pixels.reshape(-1, IMAGE_SIZE, IMAGE_SIZE), labels, usage)


def _fields(block: _Block, layout: _Layout) -> dict[str, list[bytes]]:
    """Column name → its field in each line. No field of this format holds a comma, so quotes are mere decoration."""
    width = len(layout.columns)
    rows = [line.split(b",") for line in block.lines]
    for i, row in enumerate(rows):
        if len(row) != width:
            what = f"has {len(row):,} columns, where the header has {width}"
            raise _wrong(layout.name, block.first + i, what)
    return {column: [row[k].strip(b' "\t\r') for row in rows] for k, column in enumerate(layout.columns)}


def _usages(fields: list[bytes], first: int, layout: _Layout) -> np.ndarray:
    found = [_USAGES.get(field) for field in fields]
    if None in found:
        i = found.index(None)
        what = f"has Usage '{_show(fields[i])}', where one of {', '.join(USAGES)} is due"
        raise _wrong(layout.name, first + i, what)
    return np.array(found, np.uint8)


def _labels(fields: list[bytes] | None, usage: np.ndarray | None, block: _Block, layout: _Layout) -> np.ndarray:
    labels = np.full(len(block.lines), UNREAD, np.int64)
    if fields is None:
        return labels
    seen = np.flatnonzero(usage == 0) if layout.sealed and usage is not None else range(len(fields))
    for i in seen:
        label = _LABELS.get(fields[i])
        if label is None:
            raise _wrong(layout.name, block.first + int(i), f"has label '{_show(fields[i])}', where 0 to 6 is due")
        labels[i] = label
    return labels


# --------------------------------------------------------------------------------------------- pixels


def _pixels_fast(text: bytes, rows: int) -> np.ndarray | None:
    """`rows` lines of 2,304 numbers → uint8 (rows, 2304), or None if a single byte is out of the ordinary."""
    raw = np.frombuffer(text, np.uint8)
    digit = raw - np.uint8(48)  # wraps round to 10 and more for whatever is no digit
    is_digit = digit < 10
    ends = np.flatnonzero(is_digit[:-1] > is_digit[1:])  # the last digit of each number
    if not _regular(raw, is_digit, ends, rows):
        return None
    digit *= is_digit
    value = digit.astype(np.uint16)
    value[1:] += digit[:-1] * np.uint8(10)
    value[2:] += np.multiply(digit[:-2] * is_digit[1:-1], 100, dtype=np.uint16)
    value = value[ends]
    return value.astype(np.uint8).reshape(rows, PIXELS) if value.max() <= 255 else None


def _regular(raw: np.ndarray, is_digit: np.ndarray, ends: np.ndarray, rows: int) -> bool:
    """True if each number has 1 to 3 digits and one separator after it: a space, or a newline after every 2,304th.

    As many separators as numbers means that each stands right behind a number: none is doubled, none comes first.
    """
    if ends.size != rows * PIXELS or raw.size != np.count_nonzero(is_digit) + ends.size:
        return False
    longest = max(ends[0] + 1, np.diff(ends).max() - 1)
    row_ends = raw[ends[PIXELS - 1 :: PIXELS] + 1]
    spaces = np.count_nonzero(raw == ord(" "))
    return bool(longest <= 3 and np.all(row_ends == ord("\n")) and spaces == rows * (PIXELS - 1))


def _pixels_slow(text: bytes, row: int, name: str) -> np.ndarray:
    """One row → uint8 (2304,). Takes odd but honest spacing and leading zeros, and names whatever it refuses."""
    words = text.split()
    for word in words:
        if not word.isdigit() or len(word.lstrip(b"0")) > 3 or int(word[-3:]) > 255:
            raise _wrong(name, row, f"has a pixel '{_show(word)}', where 0 to 255 is due")
    if len(words) != PIXELS:
        raise _wrong(name, row, f"has {len(words):,} pixels, where {PIXELS:,} are due")
    return np.array([int(word) for word in words], np.uint8)


# ------------------------------------------------------------------------------------------- messages


def _wrong(name: str, row: int, what: str) -> UserError:
    return UserError(f"{name}: row {row:,} {what}.\n{_AGAIN}")


def _show(text: bytes, length: int = 24) -> str:
    """The start of some bytes as printable ASCII: a file may hold anything, a terminal must not."""
    shown = ascii(text[:length].decode("utf-8", "backslashreplace"))[1:-1].replace("\\\\", "\\")
    return shown + ("…" if len(text) > length else "")
