"""Writes files atomically, and hashes them."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

FULL = (errno.ENOSPC, errno.EDQUOT)  # errno of an OSError when the disk is full


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; at the end of the block that file is renamed to `path`.

    If the block raises, the temporary file is removed and the old `path` stays. For one writer at a time.
    """
    temporary = path.with_name(f"{path.name}.partial")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # otherwise a power failure could leave the name without the content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def try_lock(file: IO, shared: bool) -> bool:
    """Locks an open file until it is closed, or its process ends; False where another lock forbids it.

    shared: whether others may have a shared lock too. Where files cannot be locked (Windows, some network file systems)
    nothing is locked.
    """
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def digest(file: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
