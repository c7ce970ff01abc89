"""fer2013.tar.gz: read like the CSV inside it; archives that are damaged, unsafe or beyond the limits are refused."""

import gzip
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src.data import tar_reader
from src.data.tar_reader import open_member
from src.errors import UserError
from tests.support.competition_files import tar_bytes
from tests.support.fuzzing import edited, edits, examples, read_or_refused

CONTENT = b"emotion,pixels,Usage\n" + b"3,1 2 3,Training\n" * 200
TAR = tar_bytes("fer2013/fer2013.csv", CONTENT)
TAR_GZ = gzip.compress(TAR, 1, mtime=0)


def read(folder, content: bytes) -> bytes:
    path = folder / "fer2013.tar.gz"
    path.write_bytes(content)
    with open_member(path) as stream:
        return stream.read()


VALID = {
    "gzip": TAR_GZ,
    "plain": TAR,
    "gzip in two parts": gzip.compress(TAR[:700]) + gzip.compress(TAR[700:]),
    "extension header": tar_bytes("fer2013.csv", CONTENT, pax_headers={"comment": "x" * 3000}),
}


@pytest.mark.parametrize("name", VALID)
def test_the_member_is_read(name, tmp_path):
    assert read(tmp_path, VALID[name]) == CONTENT


BAD_CHECKSUM = TAR_GZ[:-6] + bytes([TAR_GZ[-6] ^ 1]) + TAR_GZ[-5:]
INVALID = {
    "empty": (b"", "cannot be read as a tar"),
    "zip": (b"PK\x03\x04" + bytes(2000), "cannot be read as a tar"),
    "truncated gzip": (TAR_GZ[: len(TAR_GZ) // 2], "truncated gzip stream"),
    "truncated tar": (TAR[: len(TAR) // 3], "cannot be read as a tar"),
    "checksum": (BAD_CHECKSUM, "cannot be read as a tar"),
    "no member": (tar_bytes("fer2013/other.csv", CONTENT), "no fer2013.csv"),
    "symbolic link": (tar_bytes("fer2013.csv", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
    "pipe": (tar_bytes("fer2013.csv", b"", type=tarfile.FIFOTYPE), "a device"),
    "parent folder": (tar_bytes("../fer2013.csv", CONTENT), "path traversal"),
    "absolute path": (tar_bytes("/tmp/fer2013.csv", CONTENT), "path traversal"),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_archive_is_refused_with_its_path_and_reason(name, tmp_path):
    content, words = INVALID[name]
    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    assert words in str(caught.value) and str(caught.value).startswith(str(tmp_path / "fer2013.tar.gz"))


def test_a_member_that_states_more_than_the_limit_is_refused(tmp_path):
    member = tarfile.TarInfo("fer2013.csv")
    member.size = 7_000_000_000
    with pytest.raises(UserError, match="7,000,000,000 bytes"):
        read(tmp_path, member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


@pytest.mark.parametrize("where", ["before", "after"])
def test_more_than_the_limit_beside_the_member_is_refused(where, tmp_path, monkeypatch):
    monkeypatch.setattr(tar_reader, "_MAX_OTHER_BYTES", 50_000)
    zeros = tarfile.TarInfo("a")
    zeros.size = 51_200
    other = zeros.tobuf(tarfile.GNU_FORMAT) + bytes(zeros.size)
    with pytest.raises(UserError, match="more than 50,000 bytes beside"):
        read(tmp_path, gzip.compress(other + TAR if where == "before" else TAR + other))


def test_limits_of_the_file_and_of_the_number_of_members(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_reader, "_MAX_MEMBERS", 1)
    with pytest.raises(UserError, match="among the first 1 members"):
        read(tmp_path, TAR)
    monkeypatch.setattr(tar_reader, "_MAX_BYTES", len(TAR) - 1)
    with pytest.raises(UserError, match=f"the file has {len(TAR):,} bytes"):
        read(tmp_path, TAR)


@examples(150)
@given(changes=edits)
@example(changes=[])
def test_a_mutated_gzip_file_gives_the_same_content_or_is_refused(tmp_path, changes):
    assert read_or_refused(lambda: read(tmp_path, edited(TAR_GZ, changes))) in (CONTENT, None)


@examples(100)
@given(changes=edits, compressed=st.booleans())
def test_a_mutated_tar_is_read_or_refused(tmp_path, changes, compressed):
    content = edited(TAR, [(kind, place % 2_500, token) for kind, place, token in changes])
    read_or_refused(lambda: read(tmp_path, gzip.compress(content, 1) if compressed else content))
