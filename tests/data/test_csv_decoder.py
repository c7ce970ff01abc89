"""CSV bytes to arrays: the fast way and the slow way agree, and each bad row or header is refused by its number."""

import io

import numpy as np
import pytest

from src.data import csv_decoder
from src.errors import UserError

TRAIN, TEST = ("emotion", "pixels"), ("pixels",)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Random images; the first three have three digits, one digit and one digit a pixel."""
    images = np.random.default_rng(5).integers(0, 256, (40, 48, 48)).astype(np.uint8)
    images[0], images[1], images[2] = 255, 0, 7
    return images


def pixels(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def train_lines(images: np.ndarray) -> list[bytes]:
    """The lines of a train.csv whose labels are 0, 1, … 6, 0, …"""
    return [b"emotion,pixels", *(f"{i % 7},{pixels(image)}".encode() for i, image in enumerate(images))]


def decode(content: bytes, columns: tuple[str, ...] = TRAIN, sealed: bool = True) -> csv_decoder.Table:
    return csv_decoder.read_table(io.BytesIO(content), "some.csv", columns, sealed=sealed)


def refusal(content: bytes, columns: tuple[str, ...] = TRAIN) -> str:
    """The message, which is at most two lines of printable text and begins with the file."""
    with pytest.raises(UserError) as caught:
        decode(content, columns)
    text = str(caught.value)
    assert text.count("\n") <= 1 and text.replace("\n", "").isprintable() and len(text) < 500
    assert text.startswith("some.csv: ")
    return text


def test_images_and_labels_come_back(images):
    found = decode(b"\n".join(train_lines(images)))
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, np.arange(len(images)) % 7)
    assert found.images.dtype == np.uint8 and found.labels.dtype == np.int64 and found.usage is None


def test_labels_are_unread_where_there_are_none(images):
    content = "\n".join(["pixels", *map(pixels, images)]).encode()
    assert set(decode(content, TEST).labels) == {csv_decoder.UNREAD}


def test_fast_path_takes_honest_rows_and_agrees_with_the_slow_one(images):
    texts = [pixels(image).encode() for image in images]
    fast = csv_decoder._pixels_fast(b"\n".join(texts) + b"\n", len(texts))
    slow = np.stack([csv_decoder._pixels_slow(text, 1, "x") for text in texts])
    np.testing.assert_array_equal(fast, slow)


def test_fast_path_refuses_any_single_odd_byte(images):
    """Each byte value, put over each of some places, is refused or read as the slow path reads it."""
    text = bytearray(pixels(images[5]).encode() + b"\n")
    random = np.random.default_rng(1)
    for place in [0, 1, 2, len(text) - 2, len(text) - 1, *random.integers(0, len(text), 15)]:
        for byte in range(256):
            changed = bytearray(text)
            changed[place] = byte
            fast = csv_decoder._pixels_fast(bytes(changed), 1)
            if fast is not None:
                np.testing.assert_array_equal(fast[0], csv_decoder._pixels_slow(bytes(changed), 1, "x"))


def test_two_rows_whose_counts_add_up_are_still_refused(images):
    a, b = pixels(images[5]), pixels(images[6])
    shifted = f"{a} {b.split(' ', 1)[0]}\n{b.split(' ', 1)[1]}\n".encode()
    assert csv_decoder._pixels_fast(f"{a}\n{b}\n".encode(), 2) is not None
    assert csv_decoder._pixels_fast(shifted, 2) is None


def spoil(word: str, count: int = 2304) -> str:
    """A pixel field of `count` values of which the tenth is `word`."""
    return " ".join(["1"] * 9 + [word] + ["2"] * (count - 10))


BAD_ROWS = {
    "pixels missing": (f"3,{spoil('9', 2303)}", "row 17 has 2,303 pixels, where 2,304"),
    "pixels too many": (f"3,{spoil('9', 2305)}", "row 17 has 2,305 pixels"),
    "no pixels": ("3,", "row 17 has 0 pixels"),
    "256": (f"3,{spoil('256')}", "row 17 has a pixel '256'"),
    "999": (f"3,{spoil('999')}", "row 17 has a pixel '999'"),
    "1000": (f"3,{spoil('1000')}", "row 17 has a pixel '1000'"),
    "65792": (f"3,{spoil('65792')}", "row 17 has a pixel '65792'"),
    "-1": (f"3,{spoil('-1')}", "row 17 has a pixel '-1'"),
    "abc": (f"3,{spoil('abc')}", "row 17 has a pixel 'abc'"),
    "1.5": (f"3,{spoil('1.5')}", "row 17 has a pixel '1.5'"),
    "digits of another script": (f"3,{spoil('٣')}", "row 17 has a pixel '"),
    "NUL": (f"3,{spoil(chr(0))}", r"row 17 has a pixel '\x00'"),
    "undecodable": (f"3,{spoil('9')}".encode().replace(b" 9 ", b" \xff\xfe "), r"row 17 has a pixel '\xff\xfe'"),
    "escape codes": (f"3,{spoil(chr(27) + '[31m')}", r"row 17 has a pixel '\x1b[31m'"),
    "label 7": (f"7,{spoil('9')}", "row 17 has label '7', where 0 to 6"),
    "label -1": (f"-1,{spoil('9')}", "row 17 has label '-1'"),
    "label x": (f"x,{spoil('9')}", "row 17 has label 'x'"),
    "label empty": (f",{spoil('9')}", "row 17 has label ''"),
    "label 1.0": (f"1.0,{spoil('9')}", "row 17 has label '1.0'"),
    "a field more": (f"3,{spoil('9')},Training", "row 17 has 3 columns, where the header has 2"),
    "a field less": (spoil("9"), "row 17 has 1 columns"),
    "cut off": ("3,12 13 1", "row 17 has 3 pixels"),
    "thousands of digits": (f"3,{spoil('1' * 9000)}", "row 17 has a pixel '111111111111111111111111…'"),
    "long line": (f"3,{spoil('9', 50_000)}", "row 17 is a line of 100,001 bytes"),
    "a line of megabytes": (f"3,{spoil('9', 1_500_000)}", "a line is longer than 65,536 bytes"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows(name, images):
    row, words = BAD_ROWS[name]
    lines = train_lines(images)
    lines[17] = row if isinstance(row, bytes) else row.encode()
    text = refusal(b"\n".join(lines))
    assert words in text and "Download" in text


def test_the_first_of_two_bad_rows_is_named(images, monkeypatch):
    monkeypatch.setattr(csv_decoder, "_CHUNK", 10_000)
    lines = train_lines(images)
    lines[9] = lines[31] = b"7,1"
    assert "row 9 has label" in refusal(b"\n".join(lines))


def test_rows_are_counted_over_chunks_and_without_blank_lines(images, monkeypatch):
    monkeypatch.setattr(csv_decoder, "_CHUNK", 20_000)
    assert "row 40 has 2,305 pixels" in refusal(b"\r\n\r\n".join(train_lines(images)) + b" 3\n")


BAD_FILES = {
    "empty": (TRAIN, b"", "the file is empty"),
    "only blanks": (TRAIN, b"\n \n", "the file is empty"),
    "header only": (TRAIN, b"emotion,pixels\n", "a header and no row"),
    "header without line end": (TEST, b"pixels", "a header and no row"),
    "wrong column": (
        TRAIN,
        b"label,pixels\n1,2\n",
        "the header is 'label,pixels', where the columns emotion, pixels",
    ),
    "missing column": (TRAIN, b"pixels\n1\n", "the header is 'pixels'"),
    "doubled column": (TRAIN, b"emotion,emotion,pixels\n1,1,1\n", "the header is 'emotion,emotion,pixels'"),
    "no header": (TEST, b"70 80 82 72\n", "the header is '70 80 82 72', where the columns pixels"),
    "labels in test.csv": (TEST, b"emotion,pixels\n1,2\n", "no label of the test data has a place"),
    "utf-16": (TRAIN, "emotion,pixels\n1,2\n".encode("utf-16"), "the header is '"),
    "zip": (TRAIN, b"PK\x03\x04" + bytes(range(256)), "the header is '"),
    "no newline": (TRAIN, b"1 " * 200_000, "a line is longer"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name):
    columns, content, words = BAD_FILES[name]
    assert words in refusal(content, columns)
