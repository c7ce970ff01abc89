"""Space on the disk: checked before a run, and made by deleting old checkpoints when the disk is full."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from src.errors import UserError
from src.files import FULL
from src.run.run_folder import RUN_FILES

SMALL_FILES = 2**21  # bytes: submission.csv, run.json and log.txt


def require(folder: Path, num_bytes: int) -> None:
    """Raises UserError where `num_bytes`, less the run's files in the folder, are not free. It need not exist."""
    places = [folder / name for name in RUN_FILES]
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    num_bytes -= sum(file.stat().st_size for file in files)
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
