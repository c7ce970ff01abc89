"""fer2013.tar.gz, read as a stream: nothing is extracted to disk, and no size that the archive states is believed.

The headers are walked by hand (the standard library decodes each one), since `tarfile` itself reads whole extension
headers, of any stated size, into memory.

Bounds: a gigabyte of file; a gigabyte each unpacked before, in and after the member; 1,000 members before it. Of all
that, a megabyte is in memory at a time. gzip is decoded by zlib alone: the standard library's reader goes through a
long name in a header byte by byte, and through the 50 million empty parts of a gigabyte for a quarter of an hour.
"""

import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from src.errors import UserError

MEMBER = "fer2013.csv"

_BLOCK = 512
_PIECE = 1 << 20
_LIMIT = 1_000_000_000  # bytes of the file, and of what is before, in and after the member: it has 301 million
_MEMBERS = 1_000  # before the one that is sought: the real archive has three in all
_PARTS = 10_000  # of a gzip file: some programs write one for each 64 kB
_PACKED = 1 << 16
_EXTENSIONS = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK})
_OWN = "Use Kaggle's own fer2013.tar.gz."
_DAMAGED = "Download the archive again: it is cut off or damaged."


@contextmanager
def open_member(path: Path) -> Iterator[BinaryIO]:
    """The bytes of `fer2013.csv` inside a .tar or .tar.gz, as a stream that can only be read forward.

    On leaving, the rest of the archive is read too, because the checksum of gzip stands at its end. UserError for an
    archive that is cut off, damaged or hostile, also while the stream is being read.
    """
    try:
        with _unpacked(path) as archive:
            member = _Member(archive, _seek_member(archive, path))
            yield member
            _drain(archive, path)
    except (EOFError, OSError, zlib.error, tarfile.TarError) as bad:
        raise UserError(f"{path}: cannot be read as a tar archive ({bad}).\n{_DAMAGED}") from bad


def _unpacked(path: Path) -> BinaryIO:
    """The archive without its gzip coat; the content decides, since .tar.gz files are often unpacked on the way."""
    if (size := path.stat().st_size) > _LIMIT:
        raise UserError(f"{path}: the file has {size:,} bytes, more than the {_LIMIT:,} allowed.\n{_OWN}")
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return _Unzipped(path) if zipped else path.open("rb")


def _seek_member(archive: BinaryIO, path: Path) -> int:
    """Reads up to the first byte of the member and returns its size."""
    left = _LIMIT
    for _ in range(_MEMBERS):
        header = _exactly(archive, _BLOCK)
        if not any(header):  # a block of zeros ends an archive
            raise UserError(f"{path}: there is no {MEMBER} in this archive.\n{_OWN}")
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if info.type not in _EXTENSIONS:
            _refuse_hostile(info, path)
        if info.isreg() and PurePosixPath(info.name).name == MEMBER:
            return _sized(info, path)
        padded = -(-_sized(info, path) // _BLOCK) * _BLOCK
        left -= padded
        if left < 0:
            raise UserError(f"{path}: more than {_LIMIT:,} bytes stand before {MEMBER}.\n{_OWN}")
        for start in range(0, padded, _PIECE):
            _exactly(archive, min(_PIECE, padded - start))
    raise UserError(f"{path}: more than {_MEMBERS:,} members stand before {MEMBER}.\n{_OWN}")


def _refuse_hostile(info: tarfile.TarInfo, path: Path) -> None:
    parts = PurePosixPath(info.name)
    if parts.is_absolute() or ".." in parts.parts:
        raise UserError(f"{path}: member {info.name!a} climbs out of the archive.\n{_OWN}")
    if info.issym() or info.islnk():
        raise UserError(f"{path}: member {info.name!a} is a link, not a file.\n{_OWN}")
    if info.isdev() or info.type == tarfile.GNUTYPE_SPARSE:
        raise UserError(f"{path}: member {info.name!a} is a device, a pipe or a sparse file.\n{_OWN}")


def _sized(info: tarfile.TarInfo, path: Path) -> int:
    if not 0 <= info.size <= _LIMIT:
        what = f"member {info.name!a} states {info.size:,} bytes, more than the {_LIMIT:,} allowed"
        raise UserError(f"{path}: {what}.\n{_OWN}")
    return info.size


def _exactly(archive: BinaryIO, size: int) -> bytes:
    data = archive.read(size)
    if len(data) < size:
        raise EOFError(f"it ends before {MEMBER} does")
    return data


def _drain(archive: BinaryIO, path: Path) -> None:
    left = _LIMIT
    while piece := archive.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise UserError(f"{path}: more than {_LIMIT:,} bytes follow {MEMBER}.\n{_OWN}")


class _Unzipped(io.RawIOBase):
    """What a gzip file holds. `read` raises OSError, EOFError or zlib.error: it is damaged, or in too many parts."""

    def __init__(self, path: Path) -> None:
        self._file, self._packed, self._parts = path.open("rb"), b"", 0
        self._part = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer at the end alone."""
        pieces = []
        while size > 0 and (piece := self._piece(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        """1 to `size` bytes; none at the end alone."""
        piece = b""
        while not piece and (self._part or self._begins()):
            packed = self._packed or self._file.read(_PACKED)
            if not packed:
                raise EOFError("its gzip coat ends too early")
            piece = self._part.decompress(packed, size)
            self._packed = self._part.unconsumed_tail
            if self._part.eof:
                self._packed, self._part = self._part.unused_data.lstrip(b"\0"), None
        return piece

    def _begins(self) -> bool:
        """Whether another part begins, after the zeros that may fill up the one before."""
        while not self._packed:
            packed = self._file.read(_PACKED)
            if not packed:
                return False
            self._packed = packed.lstrip(b"\0") if self._parts else packed
        self._part, self._parts = zlib.decompressobj(16 + zlib.MAX_WBITS), self._parts + 1
        if self._parts > _PARTS:
            raise OSError(f"its gzip coat has more than {_PARTS:,} parts")
        return True


class _Member(io.RawIOBase):
    """The next `size` bytes of the archive, and not one more."""

    def __init__(self, archive: BinaryIO, size: int) -> None:
        self._archive, self._left = archive, size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = _exactly(self._archive, wanted)
        self._left -= len(data)
        return data
