"""Folders of images: named by usage and number, 48x48; anything else is refused with its path."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from src.data import image_folder
from src.data.competition import read_competition, read_labelled
from src.data.image_folder import read_image_folder
from src.errors import UserError
from tests.support.competition_files import put, put_images, random_rows
from tests.support.fuzzing import edited, edits, examples, read_or_refused

ROWS = random_rows()


def image_bytes(size=(48, 48), mode: str = "L", kind: str = "PNG", frames: int = 1) -> bytes:
    buffer = io.BytesIO()
    first, *more = (Image.new(mode, size, frame) for frame in range(frames))
    first.save(buffer, kind, **({"save_all": True, "append_images": more} if more else {}))
    return buffer.getvalue()


INVALID = {
    "other size": (
        "train/Happy/Training_900.png",
        image_bytes((224, 224)),
        "224x224 pixels, mode L; expected 1 of 48x48",
    ),
    "decompression bomb": ("train/Happy/Training_900.png", image_bytes((9000, 9000), "1"), "9000x9000 pixels"),
    "alpha": ("train/Happy/Training_900.png", image_bytes(mode="RGBA"), "mode RGBA"),
    "gray alpha": ("train/Happy/Training_900.png", image_bytes(mode="LA"), "mode LA"),
    "two frames": ("train/Happy/Training_900.png", image_bytes(frames=2), "2 images in one file; expected 1 of"),
    "not an image": ("train/Happy/Training_900.jpg", b"text", "cannot be read as an image"),
    "truncated": ("train/Happy/Training_900.jpg", image_bytes(kind="JPEG")[:-60], "cannot be read as an image"),
    "GIF": ("train/Happy/Training_900.jpg", image_bytes(kind="GIF"), "cannot be read as an image"),
    "too many bytes": ("train/Happy/Training_900.jpg", bytes(1_000_001), "larger than 1,000,000 bytes"),
    "class": ("train/Contempt/Training_900.png", image_bytes(), "name is none of Angry, Disgust"),
    "other name": ("test/Happy/im900.png", image_bytes(), "the name is not Training_<number>"),
    "no row number": ("train/Happy/im0.png", image_bytes(), "the row order of these images is lost"),
    "train in test": ("test/Happy/Training_900.png", image_bytes(), "must not be in test/"),
    "test in train": ("train/Happy/PublicTest_900.png", image_bytes(), "must not be in train/"),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_image_is_refused_with_its_path_and_reason(name, tmp_path):
    file, content, words = INVALID[name]
    put_images(tmp_path, tuple(part[35:45] for part in ROWS))
    put(tmp_path / file, content)
    with pytest.raises(UserError) as caught:
        read_competition(tmp_path)
    assert words in str(caught.value) and str((tmp_path / file).parent) in str(caught.value)
    assert "/im" not in file or ("A submission needs" in str(caught.value) and "Remove" not in str(caught.value))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_images_of_other_modes_are_read_where_every_pixel_is_opaque(mode, tmp_path):
    put_images(tmp_path, ROWS)
    expected = read_competition(tmp_path).digest
    for file in tmp_path.rglob("*.png"):
        Image.open(file).convert("L").convert(mode).save(file)
    assert read_competition(tmp_path).digest == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_one_pixel_that_is_not_opaque_is_refused(mode, tmp_path):
    put_images(tmp_path, ROWS)
    image = Image.new(mode, (48, 48), (9,) * (len(mode) - 1) + (255,))
    image.putpixel((47, 47), (9,) * (len(mode) - 1) + (254,))
    image.save(tmp_path / "train" / "Happy" / "Training_900.png")
    with pytest.raises(UserError, match=f"mode {mode}; expected 1 of 48x48 opaque pixels"):
        read_competition(tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_a_colour_that_is_transparent_is_refused(mode, tmp_path):
    put_images(tmp_path, ROWS)
    transparency = (9, 9, 9) if mode == "RGB" else 9
    image = Image.new("L", (48, 48), 9).convert(mode)
    image.save(tmp_path / "train" / "Happy" / "Training_900.png", transparency=transparency)
    with pytest.raises(UserError, match=f"mode {mode}; expected 1 of 48x48 opaque pixels"):
        read_competition(tmp_path)


def test_the_working_folder_can_hold_the_images(tmp_path, monkeypatch):
    put_images(tmp_path, ROWS)
    monkeypatch.chdir(tmp_path)
    assert read_competition(Path()).digest == read_competition(tmp_path).digest


def test_images_of_train_alone_are_not_the_data(tmp_path):
    put_images(tmp_path, ROWS)
    (tmp_path / "test").rename(tmp_path / "proof")
    with pytest.raises(UserError, match="nowhere"):
        read_competition(tmp_path)


def test_the_class_folders_of_test_images_are_not_read_for_a_run(tmp_path):
    put_images(tmp_path, ROWS)
    expected = read_competition(tmp_path)
    for place in list((tmp_path / "test").iterdir()):
        place.rename(place.with_name(f"hidden-{place.name[::-1]}"))
    again = read_competition(tmp_path)
    assert again.digest == expected.digest and again.test.labels is None
    with pytest.raises(UserError, match="name is none of Angry"):
        read_labelled(tmp_path)


def test_images_with_the_same_number_are_sorted_by_pixels_not_by_class(tmp_path):
    for a, b in (("Angry", "Happy"), ("Happy", "Angry")):
        for folder, i in ((a, 0), (b, 4)):
            place = tmp_path / a / "test" / folder
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(ROWS[0][i]).save(place / "PublicTest_1.png")
        put_images(tmp_path / a, ROWS)
    assert read_competition(tmp_path / "Angry").digest == read_competition(tmp_path / "Happy").digest


def test_more_images_than_the_limit_are_refused(tmp_path, monkeypatch):
    put_images(tmp_path, ROWS)
    monkeypatch.setattr(image_folder, "_MAX_IMAGES", 53)
    with pytest.raises(UserError, match="54 images; at most 53"):
        read_competition(tmp_path)


def face_bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(ROWS[0][5]).save(buffer, kind)
    return buffer.getvalue()


FACES = {kind: face_bytes(kind) for kind in ("PNG", "JPEG")}


@examples(150)
@given(kind=st.sampled_from(["PNG", "JPEG"]), changes=st.just([]) | edits)
def test_a_mutated_image_is_read_or_refused(tmp_path, kind, changes):
    put(tmp_path / "train" / "Happy" / "Training_1.png", edited(FACES[kind], changes))
    found = read_or_refused(lambda: read_image_folder(tmp_path, hide_test_labels=True))
    assert found is not None or changes
    if found is not None:
        assert found.images.shape == (1, 48, 48) and found.images.dtype == np.uint8 and found.labels.tolist() == [3]
