"""The competition's data: all forms give the same arrays, test labels stay hidden, missing files are explained."""

import re
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from src.data.competition import find_files, read_competition, read_labelled
from src.errors import UserError
from tests.support import competition_files as forms
from tests.support.competition_files import COUNTS, FULL_HEADER, ROWS, csv_text, put, put_icml, put_images, put_pair

WITH_LABELS = [forms.put_icml, forms.put_full, forms.put_tar_gz, forms.put_tar, forms.put_images]


@pytest.fixture(scope="module")
def rows() -> forms.RowArrays:
    return forms.random_rows()


@pytest.mark.parametrize("form", [put_pair, *WITH_LABELS])
def test_every_form_gives_the_same_arrays_and_digest(form, rows, tmp_path):
    images, labels, usage = rows
    form(tmp_path / "competitions" / "some-slug", rows)
    data = read_competition(tmp_path)
    assert data.train.images.dtype == np.uint8 and data.train.labels.dtype == np.int64
    np.testing.assert_array_equal(data.train.images, images[usage == 0])
    np.testing.assert_array_equal(data.train.labels, labels[usage == 0])
    np.testing.assert_array_equal(data.test.images, images[usage > 0])
    put_pair(tmp_path / "pair", rows)
    assert data.digest == read_competition(tmp_path / "pair").digest
    assert len(data.digest) == 16 and int(data.digest, 16) >= 0


@pytest.mark.parametrize("form", WITH_LABELS)
def test_labelled_rows_are_in_file_order(form, rows, tmp_path):
    form(tmp_path / "deep" / "er", rows)
    found = read_labelled(tmp_path)
    for part, expected in zip((found.images, found.labels, found.usage), rows, strict=True):
        np.testing.assert_array_equal(part, expected)
    assert found.labels.dtype == np.int64 and found.usage.dtype == np.uint8
    assert found.file.exists()


def test_test_rows_are_public_then_private_whatever_the_order_of_the_file(rows, tmp_path):
    order = np.random.default_rng(0).permutation(ROWS)
    put(tmp_path / "fer2013.csv", csv_text(FULL_HEADER, rows, order))
    usage = rows[2][order]
    expected = np.concatenate([order[usage == 1], order[usage == 2]])
    np.testing.assert_array_equal(read_competition(tmp_path).test.images, rows[0][expected])
    np.testing.assert_array_equal(read_labelled(tmp_path).usage, usage)


def test_the_digest_depends_on_images_and_labels(rows, tmp_path):
    images, labels, usage = rows
    other = images.copy()
    other[-1, 47, 47] ^= 1
    put_pair(tmp_path / "a", rows)
    put_pair(tmp_path / "b", (other, labels, usage))
    put_pair(tmp_path / "c", (images, (labels + 1) % 7, usage))
    assert len({read_competition(tmp_path / name).digest for name in "abc"}) == 3


CHANGES = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "no last line end": lambda text: text.rstrip(b"\n"),
    "blank lines": lambda text: text + b"\n\r\n  \n",
    "header": lambda text: text.replace(b"emotion,pixels", b' "Emotion" , "Pixels" '),
    "two spaces": lambda text: text.replace(b" ", b"  "),
    "leading zeros": lambda text: text.replace(b" 7 7", b" 007 07"),
    "space at the end": lambda text: text.replace(b"\n", b" \n"),
    "line ends": lambda text: text.replace(b"\n", b"\r\n"),
    "quotes": lambda text: re.sub(rb",([\d ]+)", rb',"\1"', text),
    "columns": lambda text: re.sub(rb"(.+),(.+)", rb"\2,\1", text),
}


@pytest.mark.parametrize("name", CHANGES)
def test_harmless_variants_of_csv_are_read(name, rows, tmp_path):
    put_pair(tmp_path, rows)
    expected = read_competition(tmp_path).digest
    put(tmp_path / "train.csv", CHANGES[name]((tmp_path / "train.csv").read_bytes()))
    assert read_competition(tmp_path).digest == expected


def test_the_pair_comes_before_icml_before_fer2013_before_the_tar_before_images(rows, tmp_path):
    put_images(tmp_path / "a", rows)
    assert read_competition(tmp_path).files == (tmp_path / "a",)
    places = [
        (forms.put_tar_gz, "a", "fer2013.tar.gz"),
        (forms.put_full, "a", "fer2013.csv"),
        (forms.put_icml, "z/z", "icml_face_data.csv"),
        (forms.put_pair, "z/z/z", "train.csv"),
    ]
    for form, place, name in places:
        form(tmp_path / place, rows)
        assert read_competition(tmp_path).files[0].name == name


def test_the_shallowest_pair_in_one_folder_is_taken(rows, tmp_path):
    put(tmp_path / "train.csv", "another competition's")
    for place in ("b/x", "c", "a/x"):
        put_pair(tmp_path / place, rows)
    put(tmp_path / "c" / "example_submission.csv", "id,emotion\n")
    put(tmp_path / "a" / "example_submission.csv", "id,emotion\n")
    data = read_competition(tmp_path)
    assert data.files == (tmp_path / "c" / "train.csv", tmp_path / "c" / "test.csv")
    assert data.example == tmp_path / "c" / "example_submission.csv"
    (tmp_path / "a" / "x" / "test.csv").rename(tmp_path / "a" / "test.csv")
    assert [file.parent.name for file in read_competition(tmp_path / "a").files] == ["x", "a"]  # no two in one folder


def test_links_are_followed_and_loops_end(rows, tmp_path):
    put_pair(tmp_path / "elsewhere", rows)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "slug").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "nowhere").symlink_to(tmp_path / "missing")
    assert len(read_competition(tmp_path / "in").train) == COUNTS[0]
    assert len(find_files(tmp_path / "in")) == 2


@pytest.mark.parametrize("value", ["6", "secret"])
def test_a_run_does_not_depend_on_test_labels(value, rows, tmp_path):
    put_icml(tmp_path / "a", rows)
    hidden = [str(label) if usage == 0 else value for label, usage in zip(*rows[1:], strict=True)]
    put_icml(tmp_path / "b", rows, labels=hidden)
    first, second = read_competition(tmp_path / "a"), read_competition(tmp_path / "b")
    assert first.test.labels is None and second.test.labels is None
    assert first.digest == second.digest
    for part, expected in zip(astuple(second.train), astuple(first.train), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_the_pair_alone_has_no_labels_to_score_with(rows, tmp_path):
    put_pair(tmp_path, rows)
    with pytest.raises(UserError, match=r"labels of the test data is nowhere.*test.csv, train.csv"):
        read_labelled(tmp_path)


def refusal(folder: Path) -> str:
    """The message: at most two lines of printable text."""
    with pytest.raises(UserError) as caught:
        read_competition(folder)
    text = str(caught.value)
    assert text.count("\n") <= 1 and text.replace("\n", "").isprintable() and len(text) < 2000
    return text


def test_a_bad_row_in_an_archive_is_named(rows, tmp_path):
    content = csv_text(FULL_HEADER, rows).encode() + b"9,1,Training\n"
    put(tmp_path / "fer2013.tar", forms.tar_bytes("fer2013.csv", content))
    assert "fer2013.tar, fer2013.csv: row 55 has label '9'" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("order", "words"), [(range(40), "40 Training and 0 test"), (range(40, 54), "0 Training and 14")]
)
def test_training_or_test_rows_alone(order, words, rows, tmp_path):
    put(tmp_path / "fer2013.csv", csv_text(FULL_HEADER, rows, order))
    assert words in refusal(tmp_path)


def test_where_nothing_is_found_the_message_lists_the_files(tmp_path):
    assert "there is: no file at all" in refusal(tmp_path)
    for i in range(23):
        put(tmp_path / "other" / f"{i:02}.txt", "")
    put(tmp_path / "train.csv" / "readme.txt", "a folder of that name is no file")
    text = refusal(tmp_path)
    assert "other/00.txt, other/01.txt" in text and "and 4 more" in text and "Attach the competition" in text
    assert "no such folder" in refusal(tmp_path / "missing")


def test_a_file_that_cannot_be_read(rows, tmp_path, monkeypatch):
    put_pair(tmp_path, rows)

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "train.csv: cannot be read (Permission denied)" in refusal(tmp_path)
