"""Of several files that may be the data, the first whose content fits is read; the others are named with the reason."""

import bz2
import gzip
import io
import lzma
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.candidates import named_folder
from src.data.competition import read_competition, read_labelled
from src.errors import UserError
from tests.support import competition_files as forms
from tests.support.competition_files import COUNTS, csv_text, put, put_full, put_icml, put_images, put_pair

ROWS = forms.random_rows()
HALVES = tuple(part[::2] for part in ROWS)


@pytest.fixture(scope="module")
def digest(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("pair")
    put_pair(folder, ROWS)
    return read_competition(folder).digest


def put_texts(folder: Path) -> None:
    put(folder / "train.csv", "id,text,target\n1,fire,1\n")
    put(folder / "test.csv", "id,text\n2,water\n")


def put_digits(folder: Path) -> None:
    """Another competition with the same columns, and images of 28x28."""
    put(folder / "train.csv", f"emotion,pixels\n3,{' '.join(['7'] * 784)}\n")
    put(folder / "test.csv", f"pixels\n{' '.join(['7'] * 784)}\n")


def put_one_class(folder: Path) -> None:
    put_pair(folder, ROWS, labels=["3"] * len(ROWS[0]))


def put_truncated(folder: Path) -> None:
    put_pair(folder, ROWS)
    content = (folder / "train.csv").read_bytes()
    (folder / "train.csv").write_bytes(content[: len(content) // 2])


def put_own_splits(folder: Path) -> None:
    """As people write them from fer2013.csv."""
    for name, order in (("train", range(30)), ("val", range(30, 40)), ("test", range(40, 54))):
        put(folder / f"{name}.csv", csv_text("emotion,pixels", ROWS, order))


def put_training_rows(folder: Path) -> None:
    put(folder / "icml_face_data.csv", csv_text(forms.ICML_HEADER, ROWS, range(40)))


def put_large_images(folder: Path) -> None:
    for half in ("train", "test"):
        place = folder / half / "happy"
        place.mkdir(parents=True)
        Image.new("L", (96, 96)).save(place / "0001.png")


def put_eight_classes(folder: Path) -> None:
    put_images(folder, HALVES)
    put(folder / "train" / "contempt" / "Training_3.png", next((folder / "train").rglob("*.png")).read_bytes())


OTHERS = [put_texts, put_digits, put_one_class, put_truncated, put_own_splits, put_training_rows]
SETS = [put_large_images, put_eight_classes]


@pytest.mark.parametrize("form", [put_pair, put_full, forms.put_tar_gz, put_images])
@pytest.mark.parametrize("other", OTHERS)
def test_a_file_of_other_content_is_passed_over_with_its_reason(other, form, digest, tmp_path):
    other(tmp_path / "a")
    form(tmp_path / "b" / "c", ROWS)
    data = read_competition(tmp_path)
    assert data.digest == digest
    assert data.passed_over or (form, other) == (put_pair, put_training_rows)  # these are not looked at after a pair
    for line in data.passed_over:
        assert line.startswith(f"{tmp_path / 'a'}/") and "\n" not in line


@pytest.mark.parametrize("other", SETS)
def test_a_second_set_of_images_is_passed_over_with_its_reason(other, digest, tmp_path):
    other(tmp_path / "a")
    put_images(tmp_path / "b", ROWS)
    data = read_competition(tmp_path)
    assert data.digest == digest and data.files == (tmp_path / "b",)
    assert len(data.passed_over) == 1 and str(tmp_path / "a") in data.passed_over[0]
    np.testing.assert_array_equal(read_labelled(tmp_path).labels, ROWS[1])


def test_own_splits_beside_the_whole_file_are_passed_over(digest, tmp_path):
    put_own_splits(tmp_path)
    put_full(tmp_path, ROWS)
    data = read_competition(tmp_path)
    assert data.digest == digest and data.files == (tmp_path / "fer2013.csv",)
    (line,) = data.passed_over
    assert "test.csv: the header is" in line


def test_a_damaged_file_is_not_replaced_by_files_of_its_folder(tmp_path):
    put_truncated(tmp_path)
    put_full(tmp_path, ROWS)
    with pytest.raises(UserError, match=r"train.csv: row \d+ has"):
        read_competition(tmp_path)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_halves_of_a_pair_in_two_folders_are_found_among_others(order, digest, tmp_path):
    put_texts(tmp_path / "0")
    put_pair(tmp_path, ROWS)
    for name, place in zip(("train.csv", "test.csv"), order, strict=True):
        (tmp_path / place).mkdir()
        (tmp_path / name).rename(tmp_path / place / name)
    assert read_competition(tmp_path).digest == digest


def test_of_two_pairs_the_other_one_is_named(digest, tmp_path):
    put_pair(tmp_path / "a", ROWS)
    put_pair(tmp_path / "b", ROWS)
    data = read_competition(tmp_path)
    assert data.digest == digest
    assert data.passed_over == (f"{tmp_path / 'b' / 'train.csv'}: fits too; set data_folder to read it",)


def test_a_pair_that_was_passed_over_is_not_said_to_fit(digest, tmp_path):
    put_pair(tmp_path / "a", (ROWS[0], np.full_like(ROWS[1], 3), ROWS[2]))
    put_pair(tmp_path / "b", ROWS)
    data = read_competition(tmp_path)
    assert data.digest == digest
    (line,) = data.passed_over
    assert f"{tmp_path / 'a' / 'train.csv'}: all " in line


@pytest.mark.parametrize("other", [put_full, put_images])
def test_labels_of_other_images_are_passed_over(other, tmp_path):
    images = forms.random_rows()[0] ^ 1
    other(tmp_path / "a", (images, *ROWS[1:]))
    put_pair(tmp_path / "b", ROWS)
    other(tmp_path / "c", ROWS)
    tests = read_competition(tmp_path).test.images
    assert read_labelled(tmp_path, tests).file.is_relative_to(tmp_path / "c")
    with pytest.raises(UserError, match=r"No image of test\.csv is among the test rows of .*a"):
        read_labelled(tmp_path / "a", tests)


EXAMPLES = {"rows of another": "id,emotion\n0,1\n", "large": "x" * 3_000_000, "empty": ""}


@pytest.mark.parametrize("name", EXAMPLES)
def test_another_example_is_passed_over(name, tmp_path):
    put(tmp_path / "a" / "example_submission.csv", EXAMPLES[name])
    put_pair(tmp_path / "b", ROWS)
    data = read_competition(tmp_path)
    assert data.example is None and "a/example_submission.csv: " in data.passed_over[0]
    for place in ("c", "b"):  # that beside the data comes first
        nearest = put(tmp_path / place / "example_submission.csv", "id,emotion\n" + "0,0\n" * 14)
        assert read_competition(tmp_path).example == nearest


# ----------------------------------------------------------------------------------------- none that fits


def refusal(source: Path) -> str:
    """The message: two lines of printable text."""
    with pytest.raises(UserError) as caught:
        read_competition(source)
    text = str(caught.value)
    assert text.count("\n") == 1 and text.replace("\n", "").isprintable()
    return text


def test_where_none_fits_each_is_named_with_its_reason(tmp_path):
    put_texts(tmp_path / "a")
    put_one_class(tmp_path / "b")
    put_large_images(tmp_path / "c")
    text = refusal(tmp_path)
    assert "a/train.csv: the header is 'id,text,target" in text and "a/test.csv: the header" in text
    assert "b/train.csv: all 40 training rows have label 3 (Happy)" in text and "c/test/happy/0001.png" in text
    assert "Attach the competition" in text


@pytest.mark.parametrize("put_data", [put_one_class, lambda folder: put_full(folder, (ROWS[0], ROWS[1] * 0, ROWS[2]))])
def test_one_class_alone_is_refused(put_data, tmp_path):
    put_data(tmp_path)
    assert "all 40 training rows have label" in refusal(tmp_path)


@pytest.mark.parametrize("form", [put_pair, put_icml])
@pytest.mark.parametrize("name", ["{}.zip", "archive.zip", "download", "{}", "{}.gz"])
def test_a_packed_file_is_called_what_it_is(form, name, tmp_path):
    form(tmp_path, ROWS)
    file = next(f for f in tmp_path.iterdir() if f.name in ("train.csv", "icml_face_data.csv"))
    content, buffer = file.read_bytes(), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(file.name, content)
    file.unlink()
    packed = put(tmp_path / name.format(file.name), gzip.compress(content) if ".gz" in name else buffer.getvalue())
    text = refusal(tmp_path)
    assert packed.name in text and f"{'gzip' if '.gz' in name else 'zip'} archive" in text and "Unpack" in text
    assert "archive" in refusal(packed)


def test_a_train_csv_alone_is_told_what_it_lacks(tmp_path):
    put_pair(tmp_path, ROWS)
    (tmp_path / "test.csv").unlink()
    assert "train.csv: it needs a test.csv" in refusal(tmp_path)


# --------------------------------------------------------------------------------------- a file, a folder


@pytest.mark.parametrize("name", ["icml_face_data.csv", "fer2013.tar.gz", "train.csv", "test.csv"])
def test_a_data_file_can_be_named_itself(name, digest, tmp_path):
    for form in (put_pair, put_icml, forms.put_tar_gz):
        form(tmp_path, ROWS)
    data = read_competition(tmp_path / name)
    assert data.digest == digest
    assert (tmp_path / name) in data.files and read_labelled(tmp_path / name).usage.tolist() == ROWS[2].tolist()


@pytest.mark.parametrize("form", [put_full, forms.put_tar_gz, forms.put_tar])
def test_a_data_file_that_is_named_may_have_any_name(form, digest, tmp_path):
    form(tmp_path, ROWS)
    (file,) = tmp_path.iterdir()
    put_texts(tmp_path)
    assert read_competition(file.rename(tmp_path / "faces.data")).digest == digest


def test_half_of_a_pair_under_another_name_is_told_to_come_as_a_folder(tmp_path):
    put_pair(tmp_path, ROWS)
    for name in ("train.csv", "test.csv"):
        assert "give the folder that has both" in refusal((tmp_path / name).rename(tmp_path / f"my_{name}"))


@pytest.mark.parametrize("name", ["train.csv.gz", "test.csv.gz", "fer2013.csv.gz", "faces.data"])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_csv_that_is_named_is_told_to_be_unpacked(name, pack, tmp_path):
    put_full(tmp_path, ROWS)
    file = put(tmp_path / "packed" / name, pack((tmp_path / "fer2013.csv").read_bytes()))
    words = refusal(file)
    assert re.match(rf".*{name}: is an? (gzip|bzip2|xz) archive, whatever its name", words) and "Unpack it" in words
    assert "tar" not in words.replace(str(tmp_path), "")


@pytest.mark.parametrize("name", ["notes.txt", "train.csv"])
def test_a_named_file_that_is_no_data_is_refused_whatever_lies_beside_it(name, tmp_path):
    put_full(tmp_path, ROWS)
    put(tmp_path / name, "a,b\n1,2\n")
    assert f"{name}: the header is 'a,b" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["mine", "owner/mine", "datasets/owner/mine", "datasets/owner/mine/", "mine/deep"])
def test_the_folder_that_a_setting_names_is_found_wherever_it_is_mounted(name, tmp_path):
    put_pair(tmp_path / "competitions" / "slug", ROWS)
    put_full(tmp_path / "datasets" / "owner" / "mine" / "deep", HALVES)
    folder = named_folder(tmp_path, name)
    assert len(read_competition(folder).train) == COUNTS[0] // 2
    assert named_folder(tmp_path, str(folder)) == folder and named_folder(tmp_path, "auto") == tmp_path


@pytest.mark.parametrize("name", ["ours", "min", "slug/mine"])
def test_a_folder_that_is_not_there_is_answered_with_those_that_are(name, tmp_path):
    put_full(tmp_path / "owner" / "mine", ROWS)
    with pytest.raises(UserError, match=rf"data_folder={name}: there is no .*; there is: .*owner/mine"):
        named_folder(tmp_path, name)


@pytest.mark.parametrize("form", [put_pair, put_images])
def test_paths_that_are_not_utf_8_are_read_and_named_with_escapes(form, digest, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    form(folder, ROWS)
    assert read_competition(tmp_path).digest == read_competition(folder).digest == digest
    put(folder / "train.csv", "a,b\n")
    put(folder / "test.csv", "a\n")
    put(folder / "train" / "Happy" / "x.png", "")
    assert r"caf\udce9/train.csv: the header" in refusal(folder)


def test_what_macos_adds_is_no_data(digest, tmp_path):
    put_images(tmp_path, ROWS)
    for name in ("train/Happy/._Training_3.png", "__MACOSX/train/Happy/Training_3.png", "test/Happy/._x.jpg"):
        put(tmp_path / name, b"\0\5\x16\7")
    put(tmp_path / "__MACOSX" / "train.csv", "")
    data = read_competition(tmp_path)
    assert data.digest == digest and not data.passed_over
