"""Reads files that others made within limits: regular files, zip members, JSON, and the files below a folder.

A size that a file states about itself is only compared with the limit; what is read is counted.
"""

import contextlib
import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

from src.errors import UserError

_MAX_FILES = 500_000  # FER2013 as images has 35,887; a million paths would take half a gigabyte
_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def read_bytes(path: Path, limit: int, advice: str) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises UserError, with `advice` as its second line, if the file is missing, larger, unreadable or not regular:
    reading a pipe could block, and a device need not end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: cannot be read, since it is no regular file.\n{advice}")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).\n{advice}") from error
    if len(content) > limit:
        raise UserError(f"{path}: the file is larger than {limit:,} bytes.\n{advice}")
    return content


def archive_kind(first_bytes: bytes) -> str | None:
    """The kind of archive that begins with these bytes; None for other files."""
    return next((kind for magic, kind in _ARCHIVES.items() if first_bytes.startswith(magic)), None)


def unzip(content: bytes, wanted: Callable[[str], bool], limit: int) -> dict[str, bytes]:
    """Name → bytes of the `wanted` members of a zip, which together unpack to at most `limit` bytes.

    Raises ValueError for anything that is no zip, is damaged or encrypted, or unpacks to more. Members must be stored
    or deflated: the decoders of the other methods do not limit what they return at once.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if wanted(member.filename)]
            if sum(member.file_size for member in members) > limit:
                raise ValueError(f"it unpacks to more than {limit:,} bytes")
            if not {member.compress_type for member in members} <= _METHODS:
                raise ValueError("it is compressed by another method than deflate")
            # With a size, because without one zipfile unpacks everything and then truncates it to the stated size.
            content = {member.filename: archive.open(member).read(member.file_size + 1) for member in members}
            for member in members:
                if len(content[member.filename]) != member.file_size:
                    raise ValueError(f"{member.filename} does not have the {member.file_size:,} bytes that it states")
            return content
    except Exception as error:  # damaged bytes raise a dozen kinds in zipfile, zlib and struct
        raise ValueError(str(error) or type(error).__name__) from error


def parse_json(text: str | bytes) -> object:
    """The value of a JSON text; bytes are UTF-8. Raises ValueError for anything that is no JSON."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def list_files(folder: Path) -> list[Path]:
    """All regular files below a folder, level by level, sorted within each; links are followed, no folder twice.

    Skipped are hidden folders, folders that cannot be read, and what macOS adds to archives (`._*`, `__MACOSX`). Raises
    UserError for more than 500,000 files and folders.
    """
    places, entered, files = [folder], set(), []
    for place in places:  # the list grows by the folders that are found
        real = place.resolve()
        if real in entered:
            continue
        entered.add(real)
        entries = []
        with contextlib.suppress(OSError):
            entries = sorted(place.iterdir())
        for entry in entries:
            if entry.name.startswith("._") or entry.name == "__MACOSX":
                continue
            with contextlib.suppress(OSError):  # a link into a folder that cannot be entered
                if entry.is_file():
                    files.append(entry)
                elif entry.is_dir() and not entry.name.startswith("."):
                    places.append(entry)
        if len(files) + len(places) - 1 > _MAX_FILES:
            message = f"{folder}: more than {_MAX_FILES:,} files and folders are below this folder"
            raise UserError(f"{message}.\nName the folder with the competition's files.")
    return files
