"""Reads fer2013.csv from fer2013.tar.gz as a stream. Nothing is extracted to disk, so no path of a member is followed.

Limits: 1 GB of file, 1 GB of fer2013.csv, 100 MB of other content unpacked, 1,000 members before it.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from src.errors import UserError

MEMBER = "fer2013.csv"

_MAX_BYTES = 1_000_000_000  # of the file, and of the member; the real member has 301 million
_MAX_OTHER_BYTES = 100_000_000  # the real archive has 3,000 beside the member
_MAX_MEMBERS = 1_000  # the real archive has three in all
_PIECE = 1 << 20
_HEADER_BYTES = 262  # of a member's header: up to its magic word
_REPLACE = "Use Kaggle's own fer2013.tar.gz."
_DAMAGED = "Download the archive again: it is truncated or damaged."


def is_tar(path: Path) -> bool:
    """Whether a file is a .tar or a .tar.gz by its first bytes, whatever its name; a damaged gzip stream may be one.

    Raises UserError if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        if header.startswith(b"\x1f\x8b"):
            with gzip.open(path) as unpacked:
                header = unpacked.read(_HEADER_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return True
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).\nCheck its permissions and its disk.") from error
    return header.endswith(b"ustar")


@contextmanager
def open_member(path: Path) -> Iterator[BinaryIO]:
    """Opens `fer2013.csv` inside a .tar or .tar.gz as a stream that reads forward only.

    On leaving, it reads the rest of the archive, because gzip's checksum is at the end. Raises UserError for an archive
    that is damaged, beyond the limits or unsafe, also while the stream is read.
    """
    try:
        _refuse_large("the file", path.stat().st_size, path)
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"  # whatever the file is called
        with gzip.open(path) if compressed else path.open("rb") as unpacked:
            limited = _LimitedReader(unpacked)
            with tarfile.open(fileobj=limited, mode="r|") as archive:
                member = _find_member(archive, path)
                limited.left += member.size
                yield archive.extractfile(member)
                while limited.read(_PIECE):
                    pass
    except EOFError as error:
        raise UserError(f"{path}: truncated gzip stream.\n{_DAMAGED}") from error
    except (OSError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{path}: cannot be read as a tar archive ({error}).\n{_DAMAGED}") from error


def _refuse_large(what: str, size: int, path: Path) -> None:
    if size > _MAX_BYTES:
        raise UserError(f"{path}: {what} has {size:,} bytes; at most {_MAX_BYTES:,} are allowed.\n{_REPLACE}")


def _find_member(archive: tarfile.TarFile, path: Path) -> tarfile.TarInfo:
    for info in islice(archive, _MAX_MEMBERS):
        name = PurePosixPath(info.name)
        if name.is_absolute() or ".." in name.parts:
            raise UserError(f"{path}: path traversal in member {info.name!a}.\n{_REPLACE}")
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise UserError(f"{path}: member {info.name!a} is a link, a device or a sparse file.\n{_REPLACE}")
        if info.isreg() and name.name == MEMBER:
            _refuse_large(MEMBER, info.size, path)
            return info
    raise UserError(f"{path}: no {MEMBER} among the first {_MAX_MEMBERS:,} members.\n{_REPLACE}")


class _LimitedReader:
    """Reads a file up to `left` bytes, then raises OSError; tarfile would read a header of any size into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.left = file, _MAX_OTHER_BYTES

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise OSError(f"more than {_MAX_OTHER_BYTES:,} bytes beside {MEMBER}")
        return data
