"""Space on the disk: checked before a run, and made by deleting old checkpoints when the disk is full."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from src.errors import UserError
from src.files import FULL

SMALL_FILES = 2**21  # bytes: submission.csv, run.json and log.txt


def require(folder: Path, num_bytes: int) -> None:
    """Raises UserError where `num_bytes`, less what the folder holds, are not free. The folder need not exist."""
    num_bytes -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    if (free := shutil.disk_usage(there).free) < num_bytes:
        raise UserError(
            f"{folder}: {free / 2**20:,.0f} MiB are free, and the run will write up to {num_bytes / 2**20:,.0f} MiB; "
            "free some space, or give another --output"
        )


@dataclass(frozen=True)
class DiskSpace:
    """Writes files that are more important than others; expendable: lists those, the first to be deleted first."""

    expendable: Callable[[], list[Path]]

    def write(self, action: Callable[[], None]) -> None:
        """Does `action`; while the disk is full, deletes an expendable file and tries again. Raises OSError."""
        waiting = self.expendable()
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in FULL or not waiting:
                    raise
                waiting.pop(0).unlink(missing_ok=True)
