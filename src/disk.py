"""Space on the disk: asked for before a run, and made from old checkpoints when there is none left."""

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from src.errors import UserError

SMALL_FILES = 2**21  # bytes: submission.csv, run.json and log.txt
# What is given up, in this order; a partial file is one that is being written in the background.
EXPENDABLE = ("members/*/checkpoint.before.pt", "members/*/checkpoint.step.pt", "members/*/checkpoint.pt*")
FULL = (errno.ENOSPC, errno.EDQUOT)


def require(folder: Path, size: int) -> None:
    """Raise UserError where less than `size` bytes are free in the file system of the folder, which need not exist."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if free < size:
        raise UserError(
            f"{folder}: {free / 2**20:,.0f} MiB are free, and the run will write up to {size / 2**20:,.0f} MiB; "
            "make room, or give another --output"
        )


@dataclass(frozen=True)
class Room:
    """What a run's folder can give up for what must be written: older checkpoints, then the newest."""

    folder: Path

    def write(self, action: Callable[[], None]) -> None:
        """Does `action`, again after each thing given up for it where the disk is full; raises OSError at the last."""
        gone = [file for pattern in EXPENDABLE for file in sorted(self.folder.glob(pattern))]
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in FULL or not gone:
                    raise
                gone.pop(0).unlink(missing_ok=True)
