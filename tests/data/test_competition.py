"""Reading the competition's data: its forms agree, test labels stay behind, and each bad file is named with its row."""

import gzip
import io
import tarfile
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data import csv_decoder, tar_reader
from src.data.competition import find, read, read_labelled
from src.dataset import CLASS_NAMES
from src.errors import UserError

USAGES = csv_decoder.USAGES
COUNTS = (40, 8, 6)
ROWS = sum(COUNTS)
ICML = "emotion, Usage, pixels"
REAL = "emotion,pixels,Usage"


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random images, labels and usages; row 1 is all 255, row 2 all 0, row 3 one digit each."""
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (ROWS, 48, 48)).astype(np.uint8)
    images[0], images[1], images[2] = 255, 0, 7
    return images, random.integers(0, 7, ROWS), np.repeat([0, 1, 2], COUNTS)


def pixels(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def csv_text(header: str, faces: tuple, rows=None, labels=None, quote: str = "", end: str = "\n") -> str:
    """A file with these columns in this order; `labels` replaces the labels, as strings."""
    images, own, usage = faces
    rows = range(len(images)) if rows is None else rows
    lines = [header]
    for i in rows:
        fields = {"emotion": str(own[i] if labels is None else labels[i]), "Usage": USAGES[usage[i]]}
        fields["pixels"] = quote + pixels(images[i]) + quote
        lines.append(",".join(fields[name.strip()] for name in header.split(",")))
    return end.join(lines) + end


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tar_bytes(name: str, content: bytes, **fields) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        readme = tarfile.TarInfo("fer2013/README")
        readme.size = 700
        tar.addfile(readme, io.BytesIO(b"x" * 700))
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for key, value in fields.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return buffer.getvalue()


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def put_pair(folder: Path, faces: tuple, **style) -> None:
    put(folder / "train.csv", csv_text("emotion,pixels", faces, range(COUNTS[0]), **style))
    put(folder / "test.csv", csv_text("pixels", faces, range(COUNTS[0], ROWS), **style))


def put_icml(folder: Path, faces: tuple, **style) -> None:
    put(folder / "icml_face_data.csv", csv_text(ICML, faces, **style))


def put_fer(folder: Path, faces: tuple) -> None:
    put(folder / "fer2013.csv", csv_text(REAL, faces))


def put_tar_gz(folder: Path, faces: tuple) -> None:
    content = zipped(tar_bytes("fer2013/fer2013.csv", csv_text(REAL, faces).encode()))
    put(folder / "fer2013.tar.gz", content)


def put_tar(folder: Path, faces: tuple) -> None:
    put(folder / "fer2013.tar", tar_bytes("fer2013/fer2013.csv", csv_text(REAL, faces).encode()))


def put_images(folder: Path, faces: tuple) -> None:
    """Named by row number and in mixed case, as people pass them around; png keeps every pixel."""
    for i, (image, label, usage) in enumerate(zip(*faces, strict=True)):
        place = (
            folder / ("train" if usage == 0 else "test") / (CLASS_NAMES[label].lower() if i % 2 else CLASS_NAMES[label])
        )
        place.mkdir(parents=True, exist_ok=True)
        face = Image.fromarray(image)
        (face.convert("RGB") if i % 3 == 0 else face).save(place / f"{USAGES[usage]}_{i}.png")


FORMS = [put_pair, put_icml, put_fer, put_tar_gz, put_tar, put_images]
WITH_LABELS = FORMS[1:]


# ------------------------------------------------------------------------------------- forms and finding


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_arrays(form, faces, tmp_path):
    images, labels, usage = faces
    form(tmp_path / "competitions" / "some-slug", faces)
    data = read(tmp_path)
    assert (len(data.train), len(data.test)) == (COUNTS[0], sum(COUNTS[1:]))
    assert data.train.images.dtype == np.uint8 and data.train.labels.dtype == np.int64
    np.testing.assert_array_equal(data.train.images, images[usage == 0])
    np.testing.assert_array_equal(data.train.labels, labels[usage == 0])
    np.testing.assert_array_equal(data.test.images, images[usage > 0])
    put_pair(tmp_path / "pair", faces)
    assert data.digest == read(tmp_path / "pair").digest
    assert len(data.digest) == 16 and int(data.digest, 16) >= 0


@pytest.mark.parametrize("form", WITH_LABELS)
def test_labelled_rows_are_in_file_order(form, faces, tmp_path):
    form(tmp_path / "deep" / "er", faces)
    found = read_labelled(tmp_path)
    for have, due in zip((found.images, found.labels, found.usage), faces, strict=True):
        np.testing.assert_array_equal(have, due)
    assert found.labels.dtype == np.int64 and found.usage.dtype == np.uint8
    assert found.file.exists()


def test_test_rows_are_public_then_private_whatever_the_order_of_the_file(faces, tmp_path):
    order = np.random.default_rng(0).permutation(ROWS)
    put(tmp_path / "fer2013.csv", csv_text(REAL, faces, order))
    usage = faces[2][order]
    due = np.concatenate([order[usage == 1], order[usage == 2]])
    np.testing.assert_array_equal(read(tmp_path).test.images, faces[0][due])
    np.testing.assert_array_equal(read_labelled(tmp_path).usage, usage)


def test_digest_follows_the_data(faces, tmp_path):
    put_pair(tmp_path / "a", faces)
    images, labels, usage = faces
    other = images.copy()
    other[-1, 47, 47] ^= 1
    put_pair(tmp_path / "b", (other, labels, usage))
    put_pair(tmp_path / "c", (images, (labels + 1) % 7, usage))
    assert len({read(tmp_path / name).digest for name in "abc"}) == 3


STYLES = [{"end": "\r\n"}, {"quote": '"'}, {"quote": '"', "end": "\r\n"}, {"end": "\n\n"}]


@pytest.mark.parametrize("style", STYLES)
def test_styles_of_csv(style, faces, tmp_path):
    put_pair(tmp_path / "styled", faces, **style)
    put_pair(tmp_path / "plain", faces)
    assert read(tmp_path / "styled").digest == read(tmp_path / "plain").digest


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.rstrip(b"\n"),
        lambda text: text + b"\n\r\n  \n",
        lambda text: text.replace(b"emotion,pixels", b' "Emotion" , "Pixels" '),
        lambda text: text.replace(b" ", b"  "),
        lambda text: text.replace(b" 7 7", b" 007 07"),
        lambda text: text.replace(b"\n", b" \n"),
    ],
    ids=["bom", "no-last-newline", "blank-lines", "header", "two-spaces", "leading-zeros", "space-at-the-end"],
)
def test_harmless_oddities_of_csv(change, faces, tmp_path):
    put_pair(tmp_path, faces)
    due = read(tmp_path).digest
    put(tmp_path / "train.csv", change((tmp_path / "train.csv").read_bytes()))
    assert read(tmp_path).digest == due


@pytest.mark.parametrize("header", ["pixels, emotion, Usage", "Usage,pixels,emotion", "emotion,Usage,pixels"])
def test_columns_in_any_order(header, faces, tmp_path):
    put(tmp_path / "a" / "fer2013.csv", csv_text(header, faces))
    put_fer(tmp_path / "b", faces)
    assert read(tmp_path / "a").digest == read(tmp_path / "b").digest


@pytest.mark.parametrize("chunk", [100, 9_000, 40_000])
def test_chunks_of_any_size_give_the_same_rows(chunk, faces, tmp_path, monkeypatch):
    put_pair(tmp_path, faces)
    due = read(tmp_path).digest
    monkeypatch.setattr(csv_decoder, "_CHUNK", chunk)
    assert read(tmp_path).digest == due


def test_the_csv_pair_comes_first_then_icml_then_fer2013_then_the_tar(faces, tmp_path):
    def chosen() -> str:
        return read(tmp_path).files[0].name

    put_images(tmp_path / "a", faces)
    assert read(tmp_path).files == (tmp_path / "a",)
    put_tar_gz(tmp_path / "a", faces)
    assert chosen() == "fer2013.tar.gz"
    put_fer(tmp_path / "a", faces)
    assert chosen() == "fer2013.csv"
    put_icml(tmp_path / "z" / "z", faces)
    assert chosen() == "icml_face_data.csv"
    put_pair(tmp_path / "z" / "z" / "z", faces)
    assert chosen() == "train.csv"


def test_shallowest_pair_of_one_folder_is_taken(faces, tmp_path):
    put(tmp_path / "train.csv", "another competition's")
    for place in ("b/x", "c", "a/x"):
        put_pair(tmp_path / place, faces)
    put(tmp_path / "c" / "example_submission.csv", "id,emotion\n")
    put(tmp_path / "a" / "example_submission.csv", "id,emotion\n")
    data = read(tmp_path)
    assert data.files == (tmp_path / "c" / "train.csv", tmp_path / "c" / "test.csv")
    assert data.example == tmp_path / "c" / "example_submission.csv"


def test_pair_in_two_folders_and_no_example(faces, tmp_path):
    put_pair(tmp_path / "a", faces)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "test.csv").rename(tmp_path / "b" / "test.csv")
    data = read(tmp_path)
    assert [file.parent.name for file in data.files] == ["a", "b"] and data.example is None


def test_link_loops_end_and_links_are_followed(faces, tmp_path):
    put_pair(tmp_path / "elsewhere", faces)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "slug").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "nowhere").symlink_to(tmp_path / "missing")
    assert len(read(tmp_path / "in").train) == COUNTS[0]
    assert len(find(tmp_path / "in").every) == 2


# --------------------------------------------------------------------------------------- test labels


@pytest.mark.parametrize("value", ["6", "", "8", "secret", "\x00"])
def test_test_labels_do_not_reach_read(value, faces, tmp_path):
    put_icml(tmp_path / "a", faces)
    hidden = [str(label) if usage == 0 else value for label, usage in zip(*faces[1:], strict=True)]
    put_icml(tmp_path / "b", faces, labels=hidden)
    first, second = read(tmp_path / "a"), read(tmp_path / "b")
    assert first.test.labels is None and second.test.labels is None
    assert first.digest == second.digest
    for have, due in zip(astuple(second.train), astuple(first.train), strict=True):
        np.testing.assert_array_equal(have, due)


def test_class_folders_of_test_images_do_not_reach_read(faces, tmp_path):
    put_images(tmp_path, faces)
    due = read(tmp_path)
    for place in list((tmp_path / "test").iterdir()):
        place.rename(place.with_name(f"hidden-{place.name[::-1]}"))
    again = read(tmp_path)
    assert again.digest == due.digest and again.test.labels is None
    with pytest.raises(UserError, match="named by none of Angry"):
        read_labelled(tmp_path)


def test_images_of_one_number_are_ordered_by_pixels_not_by_class(faces, tmp_path):
    put_images(tmp_path, faces)
    for a, b in (("Angry", "Happy"), ("Happy", "Angry")):
        for folder, i in ((a, 0), (b, 4)):
            place = tmp_path / a / "test" / folder
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(faces[0][i]).save(place / "PublicTest_1.png")
        put_images(tmp_path / a, faces)
    assert read(tmp_path / "Angry").digest == read(tmp_path / "Happy").digest


@pytest.mark.parametrize("value", ["255", "", "-1", "x"])
def test_labelled_rows_are_checked(value, faces, tmp_path):
    labels = [str(label) for label in faces[1]]
    labels[44] = value
    put_icml(tmp_path, faces, labels=labels)
    with pytest.raises(UserError, match=rf"icml_face_data.csv: row 45 has label '{value}'"):
        read_labelled(tmp_path)


def test_the_pair_alone_has_no_labels_to_score_with(faces, tmp_path):
    put_pair(tmp_path, faces)
    with pytest.raises(UserError, match=r"labels of the test data is nowhere.*test.csv, train.csv"):
        read_labelled(tmp_path)


# --------------------------------------------------------------------------------------- bad content
# What may be wrong inside a CSV is in test_csv_decoder.py.


def refusal(folder: Path, action=read) -> str:
    """The message, which is at most two lines of printable text."""
    with pytest.raises(UserError) as caught:
        action(folder)
    text = str(caught.value)
    assert text.count("\n") <= 1 and text.replace("\n", "").isprintable() and len(text) < 2000
    return text


@pytest.mark.parametrize(("found", "words"), [("Testing", "'Testing'"), ("", "''"), ("training", "'training'")])
def test_unknown_usage(found, words, faces, tmp_path):
    put_icml(tmp_path, faces)
    lines = (tmp_path / "icml_face_data.csv").read_text().split("\n")
    lines[17] = lines[17].replace("Training", found)
    put(tmp_path / "icml_face_data.csv", "\n".join(lines))
    assert f"row 17 has Usage {words}, where one of Training, PublicTest, PrivateTest" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("rows", "words"), [(range(40), "40 Training and 0 test"), (range(40, 54), "0 Training and 14")]
)
def test_half_of_the_data(rows, words, faces, tmp_path):
    put(tmp_path / "fer2013.csv", csv_text(REAL, faces, rows))
    assert words in refusal(tmp_path)


def test_nothing_there_says_what_is(tmp_path):
    assert "there is: no file at all" in refusal(tmp_path)
    for i in range(23):
        put(tmp_path / "other" / f"{i:02}.txt", "")
    put(tmp_path / "train.csv" / "readme.txt", "a folder of that name is no file")
    text = refusal(tmp_path)
    assert "other/00.txt, other/01.txt" in text and "and 4 more" in text and "Attach the competition" in text
    assert "no such folder" in refusal(tmp_path / "missing")


def test_a_file_that_cannot_be_read(faces, tmp_path, monkeypatch):
    put_pair(tmp_path, faces)

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "train.csv: cannot be read (Permission denied)" in refusal(tmp_path)


# ------------------------------------------------------------------------------------------ archives


def bad_archives(good: bytes) -> dict[str, tuple[bytes, str]]:
    """Name → bytes of fer2013.tar.gz, and words of the refusal."""
    plain = tar_bytes("fer2013/fer2013.csv", good)
    whole = zipped(plain)
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # in the checksum
    link = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
    return {
        "empty": (b"", "cannot be read as a tar"),
        "text": (b"<html>sign in first</html>" * 50, "cannot be read as a tar"),
        "zip": (b"PK\x03\x04" + bytes(2000), "cannot be read as a tar"),
        "cut gzip": (whole[: len(whole) // 2], "cannot be read as a tar"),
        "cut at the end": (whole[:-20], "cannot be read as a tar"),
        "cut tar": (plain[: len(plain) // 2], "it ends before fer2013.csv does"),
        "checksum": (bytes(flipped), "cannot be read as a tar"),
        "no member": (zipped(tar_bytes("fer2013/other.csv", good)), "there is no fer2013.csv"),
        "symbolic link": (zipped(tar_bytes("fer2013.csv", b"", **link)), "is a link"),
        "hard link": (tar_bytes("fer2013.csv", b"", type=tarfile.LNKTYPE, linkname="x"), "is a link"),
        "climbs": (zipped(tar_bytes("../fer2013.csv", good)), "climbs out"),
        "absolute": (zipped(tar_bytes("/tmp/fer2013.csv", good)), "climbs out"),
        "bad row": (
            zipped(tar_bytes("fer2013.csv", good + b"9,1,Training\n")),
            "fer2013.csv: row 55 has label '9'",
        ),
    }


@pytest.mark.parametrize("name", bad_archives(b""))
def test_bad_archives(name, faces, tmp_path):
    content, words = bad_archives(csv_text(REAL, faces).encode())[name]
    put(tmp_path / "fer2013.tar.gz", content)
    text = refusal(tmp_path)
    assert words in text and text.startswith(str(tmp_path / "fer2013.tar.gz"))


@pytest.mark.parametrize("name", ["fer2013/fer2013.csv", "fer2013/huge.bin"])
def test_absurd_size_is_refused_unread(name, tmp_path):
    member = tarfile.TarInfo(name)
    member.size = 7_000_000_000
    put(tmp_path / "fer2013.tar", member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "states 7,000,000,000 bytes" in refusal(tmp_path)


def test_bytes_without_end_after_the_member_are_refused(faces, tmp_path, monkeypatch):
    put_tar_gz(tmp_path, faces)
    whole = (tmp_path / "fer2013.tar.gz").read_bytes()
    monkeypatch.setattr(tar_reader, "_LIMIT", 3_000_000)
    put(tmp_path / "fer2013.tar.gz", whole + zipped(bytes(8_000_000)))
    assert "bytes follow fer2013.csv" in refusal(tmp_path)


def test_extension_headers_are_passed_over(faces, tmp_path):
    content = tar_bytes("fer2013/fer2013.csv", csv_text(REAL, faces).encode(), pax_headers={"comment": "x" * 3000})
    put(tmp_path / "fer2013.tar", content)
    assert b"@PaxHeader" in content
    assert len(read(tmp_path).train) == COUNTS[0]


# -------------------------------------------------------------------------------------------- images


def image_bytes(size=(48, 48), mode: str = "L", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


BAD_IMAGES = {
    "other size": ("train/Happy/Training_900.png", image_bytes((224, 224)), "is 224x224, mode L"),
    "one too wide": ("train/Happy/Training_900.png", image_bytes((49, 48)), "is 49x48"),
    "bomb": ("train/Happy/Training_900.png", image_bytes((9000, 9000), "1"), "is 9000x9000"),
    "16 bit": ("train/Happy/Training_900.png", image_bytes(mode="I;16"), "mode I;16"),
    "not an image": ("train/Happy/Training_900.jpg", b"text", "cannot be read as an image"),
    "cut off": ("train/Happy/Training_900.jpg", image_bytes(kind="JPEG")[:-60], "cannot be read as an image"),
    "empty": ("train/Happy/Training_900.jpg", b"", "cannot be read as an image"),
    "gif in disguise": ("train/Happy/Training_900.jpg", image_bytes(kind="GIF"), "cannot be read as an image"),
    "too many bytes": ("train/Happy/Training_900.jpg", bytes(1_000_001), "1,000,001 bytes are too many"),
    "class": ("train/Contempt/Training_900.png", image_bytes(), "named by none of Angry, Disgust"),
    "no number": ("train/Happy/Training_.png", image_bytes(), "the name is not Training_<number>"),
    "other name": ("test/Happy/im900.png", image_bytes(), "the name is not Training_<number>"),
    "train in test": ("test/Happy/Training_900.png", image_bytes(), "has no place under test/"),
    "test in train": ("train/Happy/PublicTest_900.png", image_bytes(), "has no place under train/"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images(name, faces, tmp_path):
    file, content, words = BAD_IMAGES[name]
    put_images(tmp_path, faces)
    put(tmp_path / file, content)
    text = refusal(tmp_path)
    assert words in text and str((tmp_path / file).parent) in text


def test_images_of_train_alone_are_not_the_data(faces, tmp_path):
    put_images(tmp_path, faces)
    (tmp_path / "test").rename(tmp_path / "proof")
    assert "is nowhere below this folder" in refusal(tmp_path)
