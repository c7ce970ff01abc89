"""A user's pictures become 48x48 gray faces, whatever their form, and files that are none are named with the reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data import pictures
from src.data.pictures import read_picture, read_pictures
from src.errors import UserError

RANDOM = np.random.default_rng(0)
FACE = RANDOM.integers(0, 256, (48, 48)).astype(np.uint8)


def saved(path: Path, image: Image.Image, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **more)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16"])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_picture_of_48_pixels_stays_as_it_is_in_any_mode(tmp_path, mode, suffix):
    image = Image.fromarray(FACE)
    if mode == "I;16":
        image = Image.fromarray(FACE.astype(np.uint16) * 256 + 7)
    elif mode == "P":
        image.putpalette(np.repeat(np.arange(256), 3).astype(np.uint8).tobytes())
    else:
        image = image.convert(mode)
    assert np.array_equal(read_picture(saved(tmp_path / f"a.{suffix}", image)), FACE)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.bmp", "a.gif", "a.pgm", "no_suffix"])
def test_other_formats_and_names_are_read(tmp_path, name):
    smooth = Image.fromarray(FACE[::12, ::12]).resize((48, 48), Image.Resampling.BICUBIC)
    kind = {"no_suffix": "PNG", "a.jpg": "JPEG", "a.pgm": "PPM"}.get(name)
    found = read_picture(saved(tmp_path / name, smooth, format=kind, **({"lossless": True} if "webp" in name else {})))
    assert np.abs(found.astype(int) - np.asarray(smooth)).max() <= 8


@pytest.mark.parametrize("size", [(96, 48), (48, 96), (300, 100), (100, 300)])
def test_the_square_in_the_centre_is_cut(tmp_path, size):
    canvas, side = Image.new("L", size, 0), min(size)
    face = Image.fromarray(FACE).resize((side, side), Image.Resampling.NEAREST)
    canvas.paste(face, ((size[0] - side) // 2, (size[1] - side) // 2))
    expected = np.asarray(face.resize((48, 48), Image.Resampling.LANCZOS))
    assert np.array_equal(read_picture(saved(tmp_path / "a.png", canvas)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_held_it(tmp_path, orientation):
    turned = [None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM"]
    turned += ["TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270"]
    image, operation = Image.fromarray(FACE), turned[orientation - 1]
    stored = image.transpose(Image.Transpose[operation]) if operation else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_picture(saved(tmp_path / "a.png", stored, exif=exif)), FACE)


def test_transparent_parts_are_mean_gray_and_small_and_large_pictures_are_resized(tmp_path):
    clear = Image.new("RGBA", (48, 48), (255, 0, 0, 0))
    assert np.unique(read_picture(saved(tmp_path / "clear.png", clear))).tolist() == [129]
    for size in ((1, 1), (3, 5), (4000, 3000)):
        found = read_picture(saved(tmp_path / "flat.png", Image.new("RGB", size, (77, 77, 77))))
        assert found.shape == (48, 48) and found.dtype == np.uint8 and np.unique(found).tolist() == [77]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int) -> bytes:
    """A PNG that states so many pixels a side and holds none."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no picture"),
        (b"just text", "no picture"),
        (huge_png(10_001), "10001x10001 pixels; at most 50,000,000"),
        (huge_png(2**31 - 1), ""),
        (huge_png(48), "cannot be read"),
    ],
)
def test_a_file_that_is_no_picture_is_left_out_with_the_reason(tmp_path, content, reason):
    good, bad = saved(tmp_path / "good.png", Image.fromarray(FACE)), tmp_path / "bad.png"
    bad.write_bytes(content)
    faces, left_out = read_pictures([tmp_path])
    assert list(faces) == [good] and list(left_out) == [bad] and reason in left_out[bad]


def test_a_cut_file_a_missing_one_and_floating_point_are_left_out(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(FACE).save(whole, "PNG")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:500])
    saved(tmp_path / "float.tiff", Image.fromarray(FACE.astype(np.float32)))
    good = saved(tmp_path / "deep" / "er" / "good.png", Image.fromarray(FACE))
    faces, left_out = read_pictures([tmp_path, tmp_path / "nothing.png", good])
    assert list(faces) == [good] and {file.name for file in left_out} == {"cut.png", "float.tiff", "nothing.png"}
    assert "No such file" in left_out[tmp_path / "nothing.png"]


def test_without_any_picture_it_is_an_error_that_names_one(tmp_path):
    with pytest.raises(UserError, match="no files there"):
        read_pictures([tmp_path])
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text")
    with pytest.raises(UserError, match=r"a\.txt: no picture, and 1 more"):
        read_pictures([tmp_path])


def test_too_many_pictures_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PICTURES", 2)
    for number in range(3):
        saved(tmp_path / f"{number}.png", Image.fromarray(FACE))
    with pytest.raises(UserError, match="more than 2 pictures"):
        read_pictures([tmp_path])
