"""Files that are small and unfold, or state sizes that they do not have: refused within a stated memory, in seconds.

Each reader meets its bombs in a process of its own, whose peak of memory is then what the bombs added to what the
imports take. The process may not ask for more than 6 GB at all: a bomb that goes off fails the test, not the machine.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.bounded_io import read_bytes
from src.data.competition import find
from src.errors import UserError
from src.submit.check import check_submission
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")

START = """
import io, json, os, resource, struct, sys, zipfile, zlib
from pathlib import Path
from src.errors import UserError
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

def refused(action, *arguments):
    try:
        action(*arguments)
    except UserError as refusal:
        assert str(refusal).count("\\n") <= 1 and len(str(refusal)) < 1_000
    else:
        raise SystemExit(f"{arguments} was not refused")

def sparse(name, size, start=b""):
    with open(name, "wb") as file:
        file.write(start)
        file.truncate(size)
    return Path(name)

def put(name, content):
    Path(name).write_bytes(content)
    return Path(name)

def zeros(megabytes):  # a deflate stream, made by repeating one megabyte's
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return once * megabytes + packer.flush()

def lying(names, packed, stated):  # a zip whose members unpack to more than its directory states
    parts, directory, at = [], [], 0
    for name in names:
        common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), stated, len(name), 0)
        parts.append(b"PK\\3\\4" + common + name + packed)
        directory.append(b"PK\\1\\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, at) + name)
        at += len(parts[-1])
    index, count = b"".join(directory), min(len(names), 65_535)
    end = b"PK\\5\\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(index), at, 0)
    return b"".join(parts) + index + end
"""

READERS = {
    "faces in CSV": (
        60,  # of which the test itself takes 30
        """
from src.data.competition import read
def train(content, size):
    folder = Path(sys.argv[1]); folder.mkdir(exist_ok=True)
    sparse(folder / "train.csv", size, content); sparse(folder / "test.csv", size, b"pixels\\n")
    return folder
before = peak()
refused(read, train(b"", 10 << 30))
refused(read, train(b"emotion,pixels\\n", 10 << 30))
refused(read, train(b"emotion,pixels\\n3," + b"1 " * 3_000_000, 10 << 20))
refused(read, train(b"emotion,pixels\\n" + b"\\n" * 20_000_000, 10 << 30))
refused(read, train(b"emotion,pixels\\n" + b"," * 60_000 + b"\\n", 0))
refused(read, train(b"," * 250_000 + b"\\n", 0))
""",
    ),
    "archive": (
        30,
        """
import tarfile
from src.data.competition import read_labelled
def header(name, size):
    info = tarfile.TarInfo(name); info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)
def archive(*parts):  # in a gzip member each, its checksum wrong, since nobody gets there
    coat = b"\\x1f\\x8b\\x08" + bytes(7)
    put(f"{sys.argv[1]}/fer2013.tar.gz", coat + b"".join(parts)); return Path(sys.argv[1])
Path(sys.argv[1]).mkdir()
stored = lambda data: b"\\0" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data
before = peak()
refused(read_labelled, archive(stored(header("a", 200 << 20)), zeros(200), stored(header("b", 900 << 20)), zeros(200)))
refused(read_labelled, archive(stored(header("fer2013.csv", 900 << 20)), zeros(200)))
refused(read_labelled, archive(stored(header("fer2013.csv", 10 << 40)), zeros(50)))
pax = tarfile.TarInfo("x"); pax.type = tarfile.XHDTYPE; pax.size = 200 << 20
refused(read_labelled, archive(stored(pax.tobuf()), zeros(100)))
""",
    ),
    "images": (
        30,
        """
from PIL import Image, PngImagePlugin
from src.data.image_folder import read_folder
root = Path(sys.argv[1]); face = root / "train" / "Happy" / "Training_1.png"; face.parent.mkdir(parents=True)
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
def png(width, height, *chunks, data=b""):
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return put(face, b"\\x89PNG\\r\\n\\x1a\\n" + size + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
def refused_face(path):
    refused(lambda: read_folder(root, [path], sealed=True))
bomb = zlib.compress(bytes(200 << 20), 1)
before = peak()
for side in (49, 9_000, 13_000, 60_000, 2**31 - 1):
    refused_face(png(side, side, data=bomb[:900_000]))
refused_face(png(48, 48, chunk(b"iCCP", b"x\\0\\0" + bomb[:900_000])))
refused_face(png(48, 48, *[chunk(b"zTXt", b"x\\0\\0" + bomb[:90_000])] * 9))
refused_face(sparse(face, 10 << 30, b"\\x89PNG"))
""",
    ),
    "submission": (
        200,
        """
from src.submit.check import check_submission
sheet = Path(sys.argv[1])
before = peak()
refused(check_submission, sparse(sheet, 10 << 30), 9)
refused(check_submission, Path("/dev/zero"), 9)
refused(check_submission, put(sheet, b"3\\n"), 9, put(f"{sheet}.example", b"ab," * 666_000))
for piece in (b"ab,", b"1\\n", b"12,1\\n", b'"'):
    refused(check_submission, put(sheet, b"id,emotion\\n" + piece * (1_999_000 // len(piece))), 9)
""",
    ),
    "board": (
        60,
        """
from src.submit import leaderboard
before = peak()
refused(leaderboard.read_leaderboard, sparse(sys.argv[1], 10 << 30))
refused(leaderboard.read_leaderboard, put(sys.argv[1], lying([b"a.csv"], zeros(1_900), 2_000_000)))
refused(leaderboard.read_leaderboard, put(sys.argv[1], lying([b"a.csv"], zeros(1_900), 2_000_000_000)))
refused(leaderboard.read_leaderboard, put(sys.argv[1], lying([b"a.csv"] * 9_000, b"", 4_000_000)))
""",
    ),
    "predictions": (
        150,
        """
from src.ensemble.predictions import load_predictions
names = [b"classes.npy", b"rows.npy", b"split.npy", b"probs.npy", b"header.npy"]
def claims(shape, kind="<i8"):
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    array = b"\\x93NUMPY\\1\\0" + struct.pack("<H", len(text)) + text
    with zipfile.ZipFile(sys.argv[1], "w") as archive:
        for name in names:
            archive.writestr(name.decode(), array)
    return Path(sys.argv[1])
before = peak()
refused(load_predictions, sparse(sys.argv[1], 10 << 30, b"PK\\3\\4"))
refused(load_predictions, put(sys.argv[1], lying(names, zeros(3_000), 8_000_000)))
refused(load_predictions, put(sys.argv[1], lying(names, zeros(3_000), 3_000_000_000)))
for shape in ((2**30,), (2**40,), (2**62,), (2**32, 2**32), (3 << 28,)):
    refused(load_predictions, claims(shape))
refused(load_predictions, claims((), "<U1000000000"))
refused(load_predictions, put(sys.argv[1], lying([b"x"] * 150_000, b"", 0)))
""",
    ),
    "run.json": (
        150,
        """
from src.run_folder import RunFolder
folder = Path(sys.argv[1]); folder.mkdir()
before = peak()
refused(lambda: RunFolder(sparse(folder / "run.json", 10 << 30).parent).read())
for piece in (b"[", b"[],", b'{"a":', b"1,", b'"', b"9"):
    refused(lambda: RunFolder(put(folder / "run.json", b"[" + piece * (3_900_000 // len(piece)) + b"0]").parent).read())
""",
    ),
}


def added(script: str, argument: Path) -> float:
    """MiB that the bombs of `script` added to the peak of a fresh process."""
    code = f"{START}{script}\nprint(peak() - before)"
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code, str(argument)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert not done.stderr, done.stderr[-2_000:]
    return float(done.stdout)


@pytest.mark.parametrize("reader", READERS)
def test_bombs_are_refused_within_the_bound(reader, tmp_path):
    bound, script = READERS[reader]
    megabytes = added(script, tmp_path / "bomb")
    print(f"{reader}: {megabytes:.0f} MiB, of {bound} allowed")
    assert megabytes < bound


# ----------------------------------------------------------------------- what is no file, or too many


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "submission.csv"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="no regular file"):
        check_submission(pipe, 9)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101])
def test_a_file_is_read_up_to_its_bound_and_no_further(tmp_path, size):
    (tmp_path / "x").write_bytes(b"a" * size)
    if size <= 100:
        assert read_bytes(tmp_path / "x", 100, "Go.") == b"a" * size
    else:
        with pytest.raises(UserError, match=r"x: the file is larger than 100 bytes\.\nGo\."):
            read_bytes(tmp_path / "x", 100, "Go.")


def test_odd_entries_do_not_hide_the_files_beside_them(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    os.mkfifo(tmp_path / "test.csv")
    (tmp_path / "train.csv").mkdir()
    (tmp_path / "icml_face_data.csv").write_text("x")
    found = find(tmp_path)
    assert found.every == [tmp_path / "icml_face_data.csv"] and found.pair is None


def test_more_files_than_the_bound_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("src.bounded_io.FILES", 5)
    for number in range(5):
        (tmp_path / f"{number}.txt").touch()
    assert len(find(tmp_path).every) == 5
    (tmp_path / "deep").mkdir()
    with pytest.raises(UserError, match="more than 5 files"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a\nb", "a\nb"),
        ("a\nb\nc", "a\\nb\nc"),
        ("café × 3 – 4 …", "café × 3 – 4 …"),
        ("\x1b[2J\r\x00\u202e\udcff", r"\x1b[2J\r\x00\u202e\udcff"),
        ("x" * 3_000 + "\ny", "x" * 2_000 + "…\ny"),
        ("\x1b" * 3_000, "\\x1b" * 500 + "…"),
    ],
)
def test_a_message_is_two_printable_lines_of_a_bounded_length(message, shown):
    assert str(UserError(message)) == shown
