"""Submissions: every form is read back as it was written, and every fault is named with file and line."""

import bz2
import gzip
import io
import lzma
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example as tried
from hypothesis import given
from hypothesis import strategies as st

from src import csv_cells
from src.errors import UserError
from src.submit.check import CheckedSubmission, check_submission, parse_submission
from src.submit.write import read_example, write_submission
from tests.support.fuzzing import edited, edits, examples, read_or_refused

LABELS = np.array([3, 0, 6, 6, 1, 2, 4, 5, 3])


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


EXAMPLES = {
    "ids from 0": "id,emotion\n" + "".join(f"{row},0\n" for row in range(9)),
    "ids from 1": "ID,emotion\r\n" + "".join(f"{row},0\r\n" for row in range(1, 10)),
    "named ids": "\ufeffImage,Usage,Label\n" + "".join(f"test/{row}.jpg,x,\n" for row in range(9)),
    "descending ids": "id,emotion\n" + "".join(f"{row},0\n" for row in reversed(range(9))),
    "labels first": "emotion,id\n" + "".join(f"0,{row}\n" for row in range(9)),
    "one named column": "emotion\n" + "0\n" * 9,
    "no header": "0\n" * 9,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_form_of_the_example_is_copied(tmp_path, name):
    example = put(tmp_path / "example_submission.csv", EXAMPLES[name])
    path = tmp_path / "submission.csv"
    write_submission(path, LABELS, example)
    checked = check_submission(path, 9, example)
    np.testing.assert_array_equal(checked.labels, LABELS)
    written, pattern = parse_submission(path), parse_submission(example)
    assert (written.header, written.ids, checked.warnings) == (pattern.header, pattern.ids, ())


def test_the_written_bytes(tmp_path):
    path = tmp_path / "new" / "submission.csv"
    write_submission(path, LABELS[:2])
    assert path.read_bytes() == b"id,emotion\n0,3\n1,0\n"
    write_submission(path, LABELS[:2], form="no_header")
    assert path.read_bytes() == b"3\n0\n"
    example = put(tmp_path / "example.csv", "Image,Usage,Label\na.jpg,x,0\nb.jpg,y,0\n")
    write_submission(path, LABELS[:2], example)
    assert path.read_bytes() == b"Image,Usage,Label\na.jpg,x,3\nb.jpg,y,0\n"
    write_submission(path, LABELS[:2], example, form="kaggle")
    assert path.read_bytes() == b"id,emotion\n0,3\n1,0\n"
    assert [file.name for file in path.parent.iterdir()] == ["submission.csv"]


@pytest.mark.parametrize("start", [0, 1])
def test_shuffled_rows_are_sorted_by_id(tmp_path, start):
    order = np.random.default_rng(0).permutation(9)
    path = put(tmp_path / "s.csv", "Id,Emotion\n" + "".join(f"{row + start},{LABELS[row]}\n" for row in order))
    np.testing.assert_array_equal(check_submission(path, 9).labels, LABELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n\n", "empty"),
        (b"\x89PNG\xff\x00", "not a CSV"),
        ("id,emotion\n", "no rows"),
        ("<html>\n<p>\n", "1 rows; the test set has 9"),
        ("id,emotion\n" + "4,0\n" * 9, "line 3: the id '4' occurs twice"),
        ("1,2\n" * 9, "no header"),
    ],
)
def test_a_wrong_example_is_refused(tmp_path, content, message):
    example = put(tmp_path / "example_submission.csv", content)
    with pytest.raises(UserError, match=message):
        read_example(example, 9)
    with pytest.raises(UserError, match=r"example_submission\.csv"):
        write_submission(tmp_path / "submission.csv", LABELS, example)
    assert not (tmp_path / "submission.csv").exists()


def test_a_failed_write_leaves_the_last_submission(tmp_path, monkeypatch):
    path = tmp_path / "submission.csv"
    write_submission(path, LABELS)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_submission(path, LABELS[::-1])
    np.testing.assert_array_equal(check_submission(path, 9).labels, LABELS)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("id,emotion\n0,3\n1\n", "line 3: 1 columns"),
        ("id,emotion\n0,3\n1,7\n", "line 3: the label is '7'"),
        ("id,emotion\n0,3\n0,2\n", "line 3: the id '0' occurs twice"),
        ("id,emotion\n0,3\n2,2\n", "line 3: the id '2' is not one of '0' to '1'"),
        ("id,emotion\nx,3\n1,2\n", "line 2: the id 'x' is not one of '1' to '2'"),
        ("image,emotion\n0,3\n1,2\n", "the columns are 'image,emotion'"),
        ("3\n-1\n", "line 2: the label is '-1'"),
        ("3\n2\n1\n", "3 rows; the test set has 2"),
        (f"id,emotion\n0,{'x' * 900}\n", f"the label is '{'x' * 40}…'"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, content, message):
    with pytest.raises(UserError, match=rf"s\.csv.*{re.escape(message)}") as caught:
        check_submission(put(tmp_path / "s.csv", content), 2)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("ids", "content", "message"),
    [
        ((7, 8), "id,emotion\n0,3\n1,2\n", "line 2: the id '0' is not one of '7' to '8'"),
        ((7, 8), "id,emotion\n7,3\n", "1 ids; expected 2; '8' is missing"),
        ((7, 7), "id,emotion\n7,3\n", "example.csv, line 3: the id '7' occurs twice"),
    ],
)
def test_ids_must_be_the_example_s(tmp_path, ids, content, message):
    example = put(tmp_path / "example.csv", "id,emotion\n" + "".join(f"{name},0\n" for name in ids))
    with pytest.raises(UserError, match=message):
        check_submission(put(tmp_path / "s.csv", content), 2, example)


def test_missing_and_too_large_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be read"):
        check_submission(tmp_path / "nothing.csv", 9)
    path = put(tmp_path / "s.csv", EXAMPLES["ids from 0"])
    monkeypatch.setattr(csv_cells, "LIMIT", len(EXAMPLES["ids from 0"]))
    assert check_submission(path, 9).rows == 9
    with pytest.raises(UserError, match="larger"):
        check_submission(put(path, EXAMPLES["ids from 0"] + "\n"), 9)


def test_the_check_counts_and_warns(tmp_path):
    path = tmp_path / "s.csv"
    write_submission(path, LABELS)
    checked = check_submission(path, 9)
    assert (checked.form, checked.rows) == ("id,emotion, ids from 0", 9)
    assert (checked.counts, checked.warnings) == ((1, 1, 1, 2, 1, 1, 2), ())
    write_submission(path, np.full(9, 3))
    assert check_submission(path, 9).warnings == ("every row is Happy",)
    write_submission(path, LABELS.clip(1, 5), form="no_header")
    assert check_submission(path, 9).warnings == ("never predicted: Angry, Neutral",)
    example = put(tmp_path / "example.csv", EXAMPLES["ids from 1"].replace("ID", "row"))
    write_submission(path, LABELS)
    assert "row,emotion, ids from 1" in check_submission(path, 9, example).warnings[0]


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of files by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_zipped_submission_is_read_as_the_file_in_it(tmp_path, name):
    plain = tmp_path / "submission.csv"
    write_submission(plain, LABELS, put(tmp_path / "example.csv", EXAMPLES[name]))
    content, resource = plain.read_bytes(), b"\0\5\x16\7"
    packed = [
        zipped({"submission.csv": content}),
        zipped({"output/Submission.CSV": content, "readme.txt": b"?", "__MACOSX/._submission.csv": resource}),
        zipped({"a.csv": content, "._a.csv": resource, "__MACOSX/": b""}),
    ]
    for number, one in enumerate(packed):
        path = put(tmp_path / f"{number}.zip", one)
        found = check_submission(path, 9, tmp_path / "example.csv")
        np.testing.assert_array_equal(found.labels, LABELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"a.csv": b"1\n", "b.csv": b"1\n"}), r"one CSV file \(it holds a\.csv, b\.csv\)"),
        (zipped({"a.txt": b"1\n"}), "it holds no CSV file"),
        (zipped({"a.csv": b"1\n" * 1_100_000}), "unpacks to more than 2,000,000"),
        (zipped({"a.csv": b"1\n" * 9})[:-30], "one CSV file"),
        (gzip.compress(b"1\n" * 9), "is a gzip archive"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
        (bz2.compress(b"1\n" * 9), "is a bzip2 archive"),
        (lzma.compress(b"1\n" * 9), "is a xz archive"),
    ],
)
def test_another_archive_is_refused_in_two_lines(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as error:
        check_submission(put(tmp_path / "s.csv", content), 9)
    assert len(str(error.value).splitlines()) == 2


KAGGLE = b"id,emotion\n" + b"".join(b"%d,%d\n" % pair for pair in enumerate(LABELS))
NO_HEADER = b"".join(b"%d\n" % label for label in LABELS)
NAMED = b"emotion,image,note\r\n" + b"".join(b'%d,"a ""%d""",\r\n' % (label, i) for i, label in enumerate(LABELS))


def judge(path, example=None) -> CheckedSubmission | None:
    """The checked submission, which keeps its contract, or None where it was refused."""
    checked = read_or_refused(lambda: check_submission(path, len(LABELS), example))
    if checked:
        assert checked.labels.shape == LABELS.shape and sum(checked.counts) == len(LABELS)
        assert all(text.isprintable() and len(text) < 300 for text in (checked.form, *checked.warnings))
    return checked


@examples(200)
@given(
    st.sampled_from([KAGGLE, NO_HEADER, NAMED, zipped({"s.csv": KAGGLE})]),
    edits,
    st.sampled_from([None, KAGGLE, NAMED]),
)
@tried(KAGGLE, [("insert", 11, b"9" * 5_000)], None)
def test_a_changed_submission_is_read_or_refused(tmp_path, content, changes, shown):
    pattern = shown and put(tmp_path / "example_submission.csv", shown)
    judge(put(tmp_path / "s.csv", edited(content, changes)), pattern)


@examples(150)
@given(st.sampled_from([KAGGLE, NO_HEADER, NAMED]), edits)
def test_a_changed_example_is_copied_or_refused(tmp_path, content, changes):
    example, path = put(tmp_path / "example_submission.csv", edited(content, changes)), tmp_path / "submission.csv"
    if read_or_refused(lambda: read_example(example, len(LABELS))):
        write_submission(path, LABELS, example)
        np.testing.assert_array_equal(judge(path, example).labels, LABELS)
