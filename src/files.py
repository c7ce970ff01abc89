"""Files that are there whole or not at all, and what they hold in 64 digits."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # what an OSError has as errno where the disk is full


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; at the end of the block it takes the place of `path`.

    If the block raises, the temporary file is removed and what stood under `path` stays. For one writer at a time.
    """
    temporary = path.with_name(f"{path.name}.partial")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut could leave the name without the content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def digest(file: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
