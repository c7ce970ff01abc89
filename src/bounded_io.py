"""Files from elsewhere, found and read within bounds: regular files, zip members, JSON, no larger than the reader says.

The sizes that a file states about itself are compared with the bounds and never believed.
"""

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from src.errors import UserError

DEPTH = 20  # the kit's own JSON is nested five deep
FILES = 500_000  # FER2013 in folders has 35,887; a million paths would take half a gigabyte
_PACKINGS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def read_bytes(path: Path, limit: int, advice: str) -> bytes:
    """The whole of a regular file of at most `limit` bytes.

    UserError, `advice` being its second line: there is no such file, it is larger, or cannot be read; or it is a pipe,
    which would be waited for, or a device, which need not end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: cannot be read, since it is no regular file.\n{advice}")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as bad:
        raise UserError(f"{path}: cannot be read ({bad.strerror}).\n{advice}") from bad
    if len(content) > limit:
        raise UserError(f"{path}: the file is larger than {limit:,} bytes.\n{advice}")
    return content


def unzip(content: bytes, wanted: Callable[[str], bool], limit: int) -> dict[str, bytes]:
    """Name → bytes of the `wanted` members of a zip, which together unpack to at most `limit` bytes.

    ValueError for whatever is no zip, is damaged or encrypted, or unpacks to more. Only stored and deflated members are
    taken: the other packings have decoders without a bound on what they give at once.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if wanted(member.filename)]
            if sum(member.file_size for member in members) > limit:
                raise ValueError(f"it unpacks to more than {limit:,} bytes")
            if not {member.compress_type for member in members} <= _PACKINGS:
                raise ValueError("it is packed by another method than zip's own")
            return {member.filename: _unpack(archive, member) for member in members}
    except Exception as bad:  # damaged bytes raise a dozen kinds in zipfile, zlib and struct
        raise ValueError(str(bad) or type(bad).__name__) from bad


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Without a size, zipfile would unpack up to 2 GB at once, and cut them to the stated size afterwards."""
    with archive.open(member) as stream:
        content = stream.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise ValueError(f"{member.filename} states {member.file_size:,} bytes and has {len(content):,}")
    return content


def parse_json(text: str | bytes) -> object:
    """The value of a JSON text, bytes being UTF-8. ValueError for whatever is no JSON, or is nested too deep.

    A value that was just not too deep for the parser would be too deep to be compared or written later.
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except RecursionError:
        raise ValueError("its values are nested too deep") from None
    level = [value]
    for _ in range(DEPTH):
        level = [child for parent in level for child in _children(parent)]
    if level:
        raise ValueError(f"its values are nested more than {DEPTH} deep")
    return value


def _children(value: object) -> list:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def walk(folder: Path) -> list[Path]:
    """All files, level by level, each level in order. A folder that is reached twice, over links, is entered once.

    UserError for more than 500,000 files and folders.
    """
    level, entered, files = [folder], set(), []
    while level:
        below = []
        for place in level:
            real = os.path.realpath(place)
            if real not in entered:
                entered.add(real)
                for entry in _entries(place):
                    (below if entry.is_dir() else files).append(Path(entry.path))
                if len(files) + len(below) > FILES:
                    what = f"more than {FILES:,} files and folders are below this folder"
                    raise UserError(f"{folder}: {what}.\nName the folder that holds the competition's files.")
        level = below
    return files


def _entries(place: Path) -> list[os.DirEntry]:
    """The files of a folder and its folders that are not hidden, in order; nothing if it may not be read."""
    try:
        with os.scandir(place) as found:
            entries = [entry for entry in islice(found, FILES + 1) if _is_of_use(entry)]
    except OSError:
        return []
    return sorted(entries, key=lambda entry: entry.name)


def _is_of_use(entry: os.DirEntry) -> bool:
    """A link that leads to itself raises; the train.csv beside it must still be found."""
    try:
        return entry.is_file() or (entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return False
