"""CSV bytes to arrays: every valid row is read, and each bad row or header is refused with its number."""

import io

import numpy as np
import pytest
from hypothesis import example, given

from src.data import csv_decoder
from src.data.csv_decoder import UNREAD, USAGES, Table, read_table
from src.errors import UserError
from tests.support.competition_files import ICML_HEADER, csv_text, pixel_text, random_rows
from tests.support.fuzzing import edited, edits, examples, read_or_refused

TRAIN, TEST, FULL = ("emotion", "pixels"), ("pixels",), ("emotion", "usage", "pixels")
IMAGES = random_rows()[0][:20]
SMALL = csv_text(ICML_HEADER, random_rows(), order=range(38, 42)).encode()


def train_lines() -> list[bytes]:
    """The lines of a train.csv whose labels are 0, 1, … 6, 0, …"""
    return [b"emotion,pixels", *(f"{i % 7},{pixel_text(image)}".encode() for i, image in enumerate(IMAGES))]


def decode(content: bytes, columns: tuple[str, ...] = TRAIN, hide_test_labels: bool = True) -> Table:
    return read_table(io.BytesIO(content), "some.csv", columns, hide_test_labels=hide_test_labels)


def refusal(content: bytes, columns: tuple[str, ...] = TRAIN) -> str:
    """The message: at most two printable lines, the file first."""
    with pytest.raises(UserError) as caught:
        decode(content, columns)
    text = str(caught.value)
    assert text.count("\n") <= 1 and text.replace("\n", "").isprintable() and len(text) < 500
    assert text.startswith("some.csv: ")
    return text


def test_images_and_labels_are_read():
    found = decode(b"\n".join(train_lines()))
    np.testing.assert_array_equal(found.images, IMAGES)
    np.testing.assert_array_equal(found.labels, np.arange(len(IMAGES)) % 7)
    assert found.images.dtype == np.uint8 and found.labels.dtype == np.int64 and found.usage is None


@pytest.mark.parametrize("label", [b"", b"8", b"secret", b"\0"])
def test_hidden_labels_of_test_rows_are_not_even_checked(label):
    lines = SMALL.split(b"\n")
    lines[4] = label + lines[4][1:]
    assert decode(b"\n".join(lines), FULL).labels.tolist()[2:] == [UNREAD, UNREAD]
    with pytest.raises(UserError, match="row 4 has label"):
        decode(b"\n".join(lines), FULL, hide_test_labels=False)


def pixels_with(word: str, count: int = 2304) -> str:
    """A pixel field of `count` values, of which the tenth is `word`."""
    return " ".join(["1"] * 9 + [word] + ["2"] * (count - 10))


BAD_ROWS = {
    "pixels missing": (f"3,{pixels_with('9', 2303)}", "row 17 has 2,303 pixels; expected 2,304"),
    "pixels too many": (f"3,{pixels_with('9', 2305)}", "row 17 has 2,305 pixels"),
    "256": (f"3,{pixels_with('256')}", "row 17 has pixel '256'; expected 0 to 255"),
    "2**64": (f"3,{pixels_with(str(2**64))}", "row 17 has pixel '18446744073709551616'"),
    "-1": (f"3,{pixels_with('-1')}", "row 17 has pixel '-1'"),
    "abc": (f"3,{pixels_with('abc')}", "row 17 has pixel 'abc'"),
    "digits of another script": (f"3,{pixels_with('٣')}", "row 17 has pixel '"),
    "NUL": (f"3,{pixels_with(chr(0))}", r"row 17 has pixel '\x00'"),
    "escape codes": (f"3,{pixels_with(chr(27) + '[31m')}", r"row 17 has pixel '\x1b[31m'"),
    "label 7": (f"7,{pixels_with('9')}", "row 17 has label '7'; expected 0 to 6"),
    "label empty": (f",{pixels_with('9')}", "row 17 has label ''"),
    "a field more": (f"3,{pixels_with('9')},Training", "row 17 has 3 columns; expected 2"),
    "a field less": (pixels_with("9"), "row 17 has 1 columns"),
    "truncated": ("3,12 13 1", "row 17 has 3 pixels"),
    "thousands of digits": (f"3,{pixels_with('1' * 9000)}", "row 17 has pixel '111111111111111111111111…'"),
    "long line": (f"3,{pixels_with('9', 50_000)}", "a line has more than 65,536 bytes"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows(name):
    row, words = BAD_ROWS[name]
    lines = train_lines()
    lines[17] = row if isinstance(row, bytes) else row.encode()
    text = refusal(b"\n".join(lines))
    assert words in text and "Download" in text


def test_rows_are_counted_without_blank_lines():
    assert "row 20 has 2,305 pixels" in refusal(b"\r\n\r\n".join(train_lines()) + b" 3\n")


BAD_FILES = {
    "empty": (TRAIN, b"", "the file is empty"),
    "header alone": (TRAIN, b"emotion,pixels\n", "a header and no rows"),
    "wrong column": (TRAIN, b"label,pixels\n1,2\n", "'label,pixels"),
    "doubled column": (TRAIN, b"emotion,emotion,pixels\n1,1,1\n", "expected the columns emotion, pixels"),
    "no header": (TEST, b"70 80 82 72\n", "the header is '70 80 82 72"),
    "labels in test.csv": (TEST, b"emotion,pixels\n1,2\n", "test.csv has no labels"),
    "zip": (TRAIN, b"PK\x03\x04" + bytes(range(256)), "is a zip archive"),
    "gzip": (TRAIN, b"\x1f\x8b\x08" + bytes(range(256)), "is a gzip archive"),
    "CR": (TRAIN, b"\r".join(train_lines()), "lines end in CR alone"),
    "CR, short": (TEST, b"pixels\r1 2 3\r", "lines end in CR alone"),
    "index": (TRAIN, b",emotion,pixels\n0,1,2\n", "without the nameless index column"),
    "quoted index": (TEST, b'"","pixels"\n0,2\n', "without the nameless index column"),
    "index, written twice": (FULL, b"Unnamed: 0,emotion,pixels,Usage\n", "without the nameless index column"),
    "no line end": (TRAIN, b"1 " * 200_000, "a line has more than"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name):
    columns, content, words = BAD_FILES[name]
    assert words in refusal(content, columns)


def test_more_text_than_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(csv_decoder, "_MAX_FILE_BYTES", len(SMALL))
    assert len(decode(SMALL, FULL).images) == 4
    monkeypatch.setattr(csv_decoder, "_MAX_FILE_BYTES", len(SMALL) - 1)
    assert "the text has more than" in refusal(SMALL, FULL)


def parse_plainly(content: bytes) -> list[tuple[int, int, list[int]]]:
    """Label, usage and pixels of each row, by the simplest code."""
    lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    names = [name.strip(b' "\t\r').lower().decode() for name in lines[0].split(b",")]
    rows = []
    for line in lines[1:]:
        row = dict(zip(names, (cell.strip(b' "\t\r').decode() for cell in line.split(b",")), strict=True))
        pixels = [int(word) for word in row["pixels"].split()]
        rows.append((int(row["emotion"]), USAGES.index(row["usage"]), pixels))
    return rows


@examples(250)
@given(changes=edits)
@example(changes=[])
@example(changes=[("insert", 24, b"\n" * 3_000)])
@example(changes=[("overwrite", 60, b"  ")])
@example(changes=[("insert", 0, b"\xef\xbb\xbf")])
def test_a_mutated_file_is_read_as_the_simplest_code_reads_it_or_refused(changes):
    content = edited(SMALL, changes)
    found = read_or_refused(lambda: decode(content, FULL, hide_test_labels=False))
    if found:
        labels, usage, pixels = zip(*parse_plainly(content), strict=True)
        assert found.labels.tolist() == list(labels) and set(labels) <= set(range(7))
        assert found.usage.tolist() == list(usage)
        np.testing.assert_array_equal(found.images.reshape(-1, 2304), np.array(pixels))
    assert found or changes
