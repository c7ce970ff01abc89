"""Files that others made: nothing but regular files, zips and JSON of a bounded size."""

import io
import os
import struct
import zipfile
from pathlib import Path

import pytest

from src.bounded_io import list_files, parse_json, read_bytes, unzip
from src.errors import UserError


def test_a_file_is_read_up_to_its_limit(tmp_path):
    (tmp_path / "x").write_bytes(b"a" * 100)
    assert read_bytes(tmp_path / "x", 100, "Go.") == b"a" * 100
    with pytest.raises(UserError, match=r"x: the file is larger than 99 bytes\.\nGo\."):
        read_bytes(tmp_path / "x", 99, "Go.")


def test_pipes_folders_and_missing_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "no regular file"), ("", "no regular file"), ("gone", "No such file")):
        with pytest.raises(UserError, match=words):
            read_bytes(tmp_path / name, 100, "Go.")


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


MEMBERS = {"a.csv": b"1,2", "b.txt": b"x" * 1000}


def test_the_wanted_members_of_a_zip_are_unpacked():
    assert unzip(zip_bytes(MEMBERS), lambda name: name.endswith(".csv"), 3) == {"a.csv": b"1,2"}
    assert unzip(zip_bytes(MEMBERS, zipfile.ZIP_STORED), lambda _: True, 1003) == MEMBERS


LONG = zip_bytes(MEMBERS)
REFUSED_ZIPS = {
    "over the limit": (LONG, 1002),
    "no zip": (b"PK", 9),
    "truncated": (LONG[:-30], 5000),
    "states too little": (LONG.replace(struct.pack("<I", 1000), struct.pack("<I", 3)), 5000),
    "bzip2": (zip_bytes(MEMBERS, zipfile.ZIP_BZIP2), 5000),
    "lzma": (zip_bytes(MEMBERS, zipfile.ZIP_LZMA), 5000),
}


@pytest.mark.parametrize("name", REFUSED_ZIPS)
def test_other_zips_are_refused(name):
    content, limit = REFUSED_ZIPS[name]
    with pytest.raises(ValueError, match=r"\w"):
        unzip(content, lambda _: True, limit)


def test_json_is_parsed_and_everything_else_is_a_value_error():
    assert parse_json(b'{"a": [1, "\xc3\xa9"]}') == parse_json('{"a": [1, "é"]}') == {"a": [1, "é"]}
    for text in ("", "{", b"\xff", "[" * 100_000):
        with pytest.raises(ValueError, match=r"\w"):
            parse_json(text)


def test_odd_entries_do_not_hide_the_files_beside_them(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.csv").touch()
    os.mkfifo(tmp_path / "test.csv")
    (tmp_path / "train.csv").mkdir()
    (tmp_path / "train.csv" / "a").touch()
    (tmp_path / "z").touch()
    (tmp_path / "._z").touch()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "z").touch()
    assert list_files(tmp_path) == [tmp_path / "z", tmp_path / "train.csv" / "a"]


def test_more_files_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("src.bounded_io._MAX_FILES", 5)
    for number in range(5):
        (tmp_path / f"{number}.txt").touch()
    assert len(list_files(tmp_path)) == 5
    (tmp_path / "deep").mkdir()
    with pytest.raises(UserError, match="more than 5 files"):
        list_files(tmp_path)


def test_an_entry_that_cannot_be_looked_at_hides_no_other(tmp_path, monkeypatch):
    """As a link into a folder that only its owner may enter."""
    for name in ("a", "b_link", "c"):
        (tmp_path / name).write_bytes(b"")
    is_file = Path.is_file

    def refused(path: Path) -> bool:
        if path.name == "b_link":
            raise PermissionError("not yours")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    assert [file.name for file in list_files(tmp_path)] == ["a", "c"]
