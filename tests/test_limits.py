"""Small files that unpack to large ones, or that state wrong sizes, are refused within the memory of docs/limits.md.

Each reader runs in a process of its own, with an address space of 6 GB. Measured is what its files add to the peak of
memory after the imports.
"""

import subprocess
import sys
from pathlib import Path

import pytest

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
    "CSV": (
        60,
        """
from src.data.competition import read_competition
def train(content, size):
    folder = Path(sys.argv[1]); folder.mkdir(exist_ok=True)
    sparse(folder / "train.csv", size, content); sparse(folder / "test.csv", size, b"pixels\\n")
    return folder
before = peak()
refused(read_competition, train(b"", 10 << 30))
refused(read_competition, train(b"emotion,pixels\\n", 10 << 30))
refused(read_competition, train(b"emotion,pixels\\n3," + b"1 " * 3_000_000, 10 << 20))
refused(read_competition, train(b"," * 60_000 + b"\\n", 0))
""",
    ),
    "tar": (
        200,
        """
import tarfile
from src.data.competition import read_labelled
def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name); info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)
def archive(*parts):  # the gzip checksum is wrong, but is never reached
    put(f"{sys.argv[1]}/fer2013.tar.gz", b"\\x1f\\x8b\\x08" + bytes(7) + b"".join(parts)); return Path(sys.argv[1])
Path(sys.argv[1]).mkdir()
stored = lambda data: b"\\0" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data
before = peak()
refused(read_labelled, archive(stored(header("a", 900 << 20)), zeros(300)))
refused(read_labelled, archive(stored(header("fer2013.csv", 900 << 20)), zeros(200)))
refused(read_labelled, archive(stored(header("fer2013.csv", 10 << 30)), zeros(50)))
refused(read_labelled, archive(stored(header("x", 300 << 20, tarfile.XHDTYPE)), zeros(300)))
""",
    ),
    "images": (
        30,
        """
from PIL import Image, PngImagePlugin
from src.data.image_folder import read_image_folder
root = Path(sys.argv[1]); face = root / "train" / "Happy" / "Training_1.png"; face.parent.mkdir(parents=True)
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
def png(width, height, *chunks, data=b""):
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return put(face, b"\\x89PNG\\r\\n\\x1a\\n" + size + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
def refused_face(path):
    refused(lambda: read_image_folder(root, hide_test_labels=True))
bomb = zlib.compress(bytes(200 << 20), 1)
before = peak()
for side in (49, 9_000, 2**31 - 1):
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
    "leaderboard": (
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
for shape in ((2**30,), (2**62,), (2**32, 2**32)):
    refused(load_predictions, claims(shape))
refused(load_predictions, claims((), "<U1000000000"))
refused(load_predictions, put(sys.argv[1], lying([b"x"] * 150_000, b"", 0)))
""",
    ),
    "run.json": (
        150,
        """
from src.run.run_folder import RunFolder
folder = Path(sys.argv[1]); folder.mkdir()
before = peak()
refused(lambda: RunFolder(sparse(folder / "run.json", 10 << 30).parent).read_record())
for piece in (b"[", b"[],", b'{"a":', b"1,", b'"', b"9"):
    text = b"[" + piece * (3_900_000 // len(piece)) + b"0]"
    refused(lambda: RunFolder(put(folder / "run.json", text).parent).read_record())
""",
    ),
}


def added_memory(script: str, argument: Path) -> float:
    """MiB that the files of `script` add to the peak of a fresh process."""
    code = f"{START}{script}\nprint(peak() - before)"
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code, str(argument)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert not done.stderr, done.stderr[-2_000:]
    return float(done.stdout)


@pytest.mark.parametrize("reader", READERS)
def test_files_that_unpack_to_large_ones_are_refused_within_the_memory_limit(reader, tmp_path):
    limit, script = READERS[reader]
    megabytes = added_memory(script, tmp_path / "bomb")
    print(f"{reader}: {megabytes:.0f} MiB, of {limit} allowed")
    assert megabytes < limit
