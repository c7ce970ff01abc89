"""Whether files are those that a run wrote: by the SHA-256 in its run.json."""

from pathlib import Path

from src.errors import UserError
from src.files import digest
from src.run.record import read_record

REMEDY = "Run or fetch it again. To use the changed file itself, copy it to another folder."


def stated_digests(folder: Path) -> dict[str, str]:
    """Name → SHA-256, as run.json has them; empty where it is not there, is damaged, or has none."""
    try:
        return read_record(folder / "run.json", "").files
    except UserError:
        return {}


def require_intact(folder: Path, *files: Path) -> None:
    """Raises UserError for a file of a run's folder whose digest is not the one in run.json; others pass."""
    stated = stated_digests(folder)
    for file in files:
        expected = stated.get(file.relative_to(folder).as_posix())
        if expected and file.is_file() and digest(file) != expected:
            what = "changed since the run wrote it: its SHA-256 is not the one in run.json"
            raise UserError(f"{file}: {what}.\n{REMEDY}")
