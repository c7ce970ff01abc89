"""The faces' files by chance: CSV, archive and images are read as a plain reader reads them, or refused with a line.

tests/fuzzing.py says how to try more.
"""

import gzip
import io
import tarfile
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from src.data import csv_decoder, tar_reader
from src.data.image_folder import read_folder
from tests.fuzzing import edited, edits, examples, read_or_refused

COLUMNS = ("emotion", "usage", "pixels")
PIXELS = np.random.default_rng(3).integers(0, 256, (4, 2304))
USAGES = ("Training", "PublicTest", "PrivateTest", "Training")


def text_of(pixels) -> str:
    return " ".join(map(str, pixels))


def csv_of(rows: list[tuple[str, ...]], header: str = "emotion, Usage, pixels", end: str = "\n") -> bytes:
    return end.join([header, *(",".join(row) for row in rows), ""]).encode("utf-8", "surrogateescape")


GOOD_ROWS = [(str(i), USAGES[i], text_of(PIXELS[i].tolist())) for i in range(4)]
GOOD = csv_of(GOOD_ROWS)


def decode(content: bytes, sealed: bool = False) -> csv_decoder.Table | None:
    return read_or_refused(lambda: csv_decoder.read_table(io.BytesIO(content), "x.csv", COLUMNS, sealed=sealed))


def plainly(content: bytes) -> list[tuple[int, int, list[int]]]:
    """label, usage, pixels of each row, as the few lines read them that everybody would write."""
    lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    names = [name.strip(b' "\t\r').lower().decode() for name in lines[0].split(b",")]
    rows = []
    for line in lines[1:]:
        row = dict(zip(names, (cell.strip(b' "\t\r').decode() for cell in line.split(b",")), strict=True))
        pixels = [int(word) for word in row["pixels"].split()]
        rows.append((int(row["emotion"]), csv_decoder.USAGES.index(row["usage"]), pixels))
    return rows


def assert_read_rightly(found: csv_decoder.Table, content: bytes) -> None:
    labels, usage, pixels = zip(*plainly(content), strict=True)
    assert found.labels.tolist() == list(labels) and set(labels) <= set(range(7))
    assert found.usage.tolist() == list(usage)
    np.testing.assert_array_equal(found.images.reshape(-1, 2304), np.array(pixels))


# ------------------------------------------------------------------------------------------------ CSV


def test_the_file_that_is_mutated_is_read():
    assert_read_rightly(decode(GOOD), GOOD)


@examples(250)
@given(changes=edits)
@example(changes=[("insert", 24, b"\n" * 3_000)])
@example(changes=[("put over", 30, b"  ")])
@example(changes=[("insert", 0, b"\xef\xbb\xbf")])
def test_a_changed_csv_is_read_rightly_or_refused(changes):
    content = edited(GOOD, changes)
    if found := decode(content):
        assert_read_rightly(found, content)


odd = "0,1,7,255,256,999,1000,007,0000255,-1,+1,1.5,x,٣,²,1_0,\0"
words = st.sampled_from(odd.split(",")) | st.text(max_size=3)
cells = st.sampled_from(["0", "6", "7", "", "Training", "training", '"3"', "PublicTest", " 3 ", "\udcff"]) | words


@st.composite
def rows(draw) -> tuple[str, ...]:
    """A row that may be good, or have another cell, word, count or separator than it should."""
    label, usage, text = draw(st.sampled_from(GOOD_ROWS))
    pixels = text.split()
    for place, word in draw(st.lists(st.tuples(st.integers(0, 2303), words), max_size=2)):
        pixels[place] = word
    pixels = pixels[: draw(st.sampled_from([2304, 2304, 2304, 2303, 0]))] + draw(st.sampled_from([[], [], [], ["1"]]))
    text = draw(st.sampled_from([" ", " ", " ", "  ", "\t", "\r", ";"])).join(pixels)
    row = [label, usage, draw(st.sampled_from([text, f'"{text}"', f'"{text}', f" {text} "]))]
    if draw(st.integers(0, 3)) == 0:
        row[draw(st.integers(0, 1))] = draw(cells)
    return tuple(row[: draw(st.sampled_from([3, 3, 3, 3, 2]))])


@examples(100)
@given(st.lists(rows(), max_size=4), st.sampled_from(["\n", "\r\n", "\n\n", "\r"]), st.sampled_from([40, 9_000, 2**18]))
def test_a_csv_of_odd_rows_is_read_rightly_or_refused(rows, end, chunk):
    content = csv_of(rows, end=end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_decoder, "_CHUNK", chunk)
        found = decode(content)
    if found:
        assert_read_rightly(found, content)


@examples(100)
@given(header=st.lists(st.sampled_from(["emotion", "Usage", " pixels", "id", ""]) | st.text(max_size=8), max_size=5))
def test_a_header_by_chance_is_read_rightly_or_refused(header):
    content = csv_of(GOOD_ROWS, header=",".join(header).encode("utf-8", "replace").decode())
    if found := decode(content):
        assert_read_rightly(found, content)


@examples(60)
@given(label=cells)
def test_a_sealed_label_is_not_read_whatever_it_is(label):
    content = csv_of([GOOD_ROWS[0], (label, *GOOD_ROWS[1][1:])])
    if found := decode(content, sealed=True):
        assert found.labels.tolist() == [0, csv_decoder.UNREAD]


def test_more_text_than_the_bound_is_refused(monkeypatch):
    monkeypatch.setattr(csv_decoder, "_CHUNK", 1_000)
    monkeypatch.setattr(csv_decoder, "_TEXT_LIMIT", len(GOOD))
    assert len(decode(GOOD).images) == 4
    monkeypatch.setattr(csv_decoder, "_TEXT_LIMIT", len(GOOD) - 1)
    assert decode(GOOD) is None


def test_odd_spacing_is_put_in_order_and_not_read_word_by_word(monkeypatch):
    """Word by word the real files would take a minute."""
    monkeypatch.setattr(csv_decoder, "_pixels_slow", lambda *_: pytest.fail("the slow way was taken"))
    content = GOOD.replace(b" 1", b"   1").replace(b" 2", b"\t2")
    assert_read_rightly(decode(content), content)


# -------------------------------------------------------------------------------------------- archive


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]], kind: int = tarfile.GNU_FORMAT) -> bytes:
    """The members' headers and bodies as they are given, fitting or not."""
    parts = [info.tobuf(kind) + body + bytes(-len(body) % 512) for info, body in members]
    return b"".join(parts) + bytes(1024)


def info_of(name: str, size: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


PLAIN = tar_of([(info_of("fer2013/README", 3), b"abc"), (info_of("fer2013/fer2013.csv", len(GOOD)), GOOD)])
ZIPPED = gzip.compress(PLAIN, 1, mtime=0)


def unpack(folder, content: bytes) -> csv_decoder.Table | None:
    path = folder / "fer2013.tar.gz"
    path.write_bytes(content)

    def action():
        with tar_reader.open_member(path) as stream:
            return csv_decoder.read_table(stream, str(path), COLUMNS, sealed=False)

    return read_or_refused(action)


def test_the_archive_that_is_mutated_is_read(tmp_path):
    for content in (PLAIN, ZIPPED):
        assert_read_rightly(unpack(tmp_path, content), GOOD)


@examples(150)
@given(changes=edits)
def test_a_changed_archive_is_refused_or_gives_what_it_gave(tmp_path, changes):
    if found := unpack(tmp_path, edited(ZIPPED, changes)):
        assert_read_rightly(found, GOOD)


@examples(150)
@given(changes=edits, zipped=st.booleans())
def test_an_archive_changed_under_its_checksum_is_read_or_refused(tmp_path, changes, zipped):
    content = edited(PLAIN, [(kind, place % 2_500, token) for kind, place, token in changes])
    if found := unpack(tmp_path, gzip.compress(content, 1) if zipped else content):
        assert found.images.shape == (len(found.labels), 48, 48)


kinds = st.sampled_from([bytes([kind]) for kind in b"\001234567SxgLKDMV?"])
names = st.sampled_from(["fer2013.csv", "a/fer2013.csv", "../fer2013.csv", "/fer2013.csv", "a", "x" * 300, "é", ""])
sizes = st.sampled_from([0, 1, 511, 512, 513, len(GOOD), len(GOOD) - 1, 10**9, 10**9 + 1, 2**33, 2**60])
bodies = st.sampled_from(
    [b"", b"abc", GOOD, GOOD[:-1], b"9999999999 path=../../x\n", b"30 size=99999999999999999999\n"]
)
members = st.lists(st.tuples(st.builds(info_of, names, sizes, kinds, names), bodies), max_size=4)


@examples(150)
@given(members, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.booleans())
def test_an_archive_of_any_members_is_read_or_refused(tmp_path, members, kind, zipped):
    try:
        content = tar_of(members, kind)
    except (ValueError, OverflowError):  # the old format has no place for such a size or name
        return
    if found := unpack(tmp_path, gzip.compress(content, 1) if zipped else content):
        assert_read_rightly(found, GOOD[: sum(map(len, GOOD.splitlines(True)))])


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_member_that_is_no_file_is_refused(tmp_path, kind):
    assert unpack(tmp_path, tar_of([(info_of("fer2013.csv", len(GOOD), kind), GOOD)])) is None


def test_members_without_number_before_the_one_sought_are_refused(tmp_path):
    sought = (info_of("fer2013.csv", len(GOOD)), GOOD)
    assert unpack(tmp_path, tar_of([(info_of("a", 0), b"")] * 999 + [sought]))
    assert unpack(tmp_path, tar_of([(info_of("a", 0), b"")] * 1_000 + [sought])) is None


GZIP = b"\x1f\x8b\x08"
HARMLESS = {
    "in two parts": gzip.compress(PLAIN[:700]) + gzip.compress(PLAIN[700:]),
    "parts filled up": gzip.compress(PLAIN[:700]) + bytes(100_000) + gzip.compress(PLAIN[700:]) + bytes(9),
    "empty parts": gzip.compress(b"", mtime=0) * 300 + ZIPPED,
    "its name": GZIP + b"\x08" + bytes(6) + b"fer2013.tar\0" + ZIPPED[10:],
    "a name of megabytes": GZIP + b"\x08" + bytes(6) + b"x" * 20_000_000 + b"\0" + ZIPPED[10:],
}


@pytest.mark.parametrize("name", HARMLESS)
def test_coats_of_gzip(tmp_path, name):
    begun = time.process_time()
    assert_read_rightly(unpack(tmp_path, HARMLESS[name]), GOOD)
    assert time.process_time() - begun < 2


def test_a_coat_of_parts_without_number_is_refused(tmp_path):
    parts = gzip.compress(b"", mtime=0) * 10_000
    assert unpack(tmp_path, parts[:-20] + ZIPPED) and unpack(tmp_path, parts + ZIPPED) is None


@examples(40)
@given(
    st.lists(st.integers(0, len(PLAIN)), max_size=4).map(sorted), st.sampled_from([100, 512, 1 << 20]), st.booleans()
)
def test_gzip_in_any_parts_read_in_any_pieces_is_what_was_packed(tmp_path, cuts, size, filled):
    parts = [PLAIN[a:b] for a, b in pairwise([0, *cuts, len(PLAIN)])]
    path = tmp_path / "x.gz"
    path.write_bytes((bytes(5) if filled else b"").join(gzip.compress(part, 1) for part in parts))
    with tar_reader._Unzipped(path) as stream:
        found = b"".join(iter(lambda: stream.read(size), b""))
    assert found == PLAIN


def test_more_bytes_before_the_member_than_the_bound_are_refused_unread(tmp_path, monkeypatch):
    sought, before = (info_of("fer2013.csv", len(GOOD)), GOOD), (info_of("a", 30_000), bytes(30_000))
    content = gzip.compress(tar_of([before, before, sought]), 1)
    monkeypatch.setattr(tar_reader, "_LIMIT", 60_416)
    assert unpack(tmp_path, content)
    monkeypatch.setattr(tar_reader, "_LIMIT", 60_415)
    assert unpack(tmp_path, content) is None


def test_an_archive_file_larger_than_the_bound_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_reader, "_LIMIT", len(PLAIN) - 1)
    assert unpack(tmp_path, PLAIN) is None


# --------------------------------------------------------------------------------------------- images


def image_bytes(kind: str, mode: str = "L", size: tuple[int, int] = (48, 48), frames: int = 1) -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.new(mode, size, frame) for frame in range(frames)]
    pictures[0].save(buffer, kind, **({"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}))
    return buffer.getvalue()


def face_bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0].reshape(48, 48).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


FACES = {"png": face_bytes("PNG"), "jpg": face_bytes("JPEG")}


def read_image(folder, content: bytes, name: str = "Training_1.png", sealed: bool = True) -> np.ndarray | None:
    path = folder / "train" / "Happy" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    found = read_or_refused(lambda: read_folder(folder, [path], sealed=sealed))
    if found is not None:
        assert found.images.shape == (1, 48, 48) and found.images.dtype == np.uint8 and found.labels.tolist() == [3]
    return None if found is None else found.images[0]


def test_the_image_that_is_mutated_is_read(tmp_path):
    np.testing.assert_array_equal(read_image(tmp_path, FACES["png"]).ravel(), PIXELS[0])
    assert read_image(tmp_path, FACES["jpg"]) is not None


@examples(300)
@given(kind=st.sampled_from(["png", "jpg"]), changes=edits)
def test_a_changed_image_is_read_or_refused(tmp_path, kind, changes):
    read_image(tmp_path, edited(FACES[kind], changes))


modes = st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I", "I;16", "F", "YCbCr", "LAB", "HSV"])
sides = st.sampled_from([1, 47, 48, 49, 480])
forms = st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "MPO", "PPM", "ICO"])


@examples(120)
@given(kind=forms, mode=modes, width=sides, height=sides, frames=st.integers(1, 2))
def test_an_image_of_any_form_mode_and_size_is_read_or_refused(tmp_path, kind, mode, width, height, frames):
    try:
        content = image_bytes(kind, mode, (width, height), frames)
    except (OSError, ValueError, KeyError):  # there is no such image
        return
    if read_image(tmp_path, content) is not None:
        assert (
            (width, height) == (48, 48)
            and kind in ("PNG", "JPEG", "MPO")
            and (kind != "PNG" or mode in ("L", "P", "RGB"))
        )


def test_an_animated_image_is_refused(tmp_path):
    assert read_image(tmp_path, image_bytes("PNG", frames=2)) is None


@examples(80)
@given(start=st.sampled_from(["i", "Training_", "PublicTest_"]), rest=st.text(max_size=9))
def test_an_image_of_any_name_is_read_or_refused(tmp_path, start, rest):
    name = f"{start}{rest}.png".replace("/", "").replace("\0", "").encode("utf-8", "replace").decode()
    read_image(tmp_path, FACES["png"], name)


def test_more_images_than_the_bound_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("src.data.image_folder._IMAGES", 0)
    monkeypatch.setattr("src.data.image_folder._pixels", lambda *_: pytest.fail("an image was read"))
    assert read_image(tmp_path, FACES["png"]) is None
