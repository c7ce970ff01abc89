"""The runs that were fetched: their folders below output/kernel/, and how they get into results/."""

from pathlib import Path

from remote.fetch import from_here
from remote.git_tags import KernelVersion
from src.data import competition
from src.errors import UserError
from src.run.run_folder import RunFolder
from src.terminal import print_wrapped
from tools import record


def run_folder(root: Path, pushed: KernelVersion | None) -> Path:
    """output/kernel/v<N>, or output/kernel/latest for a version that was not pushed from this repository."""
    return root / "output" / "kernel" / (f"v{pushed.version}" if pushed else "latest")


def fetched_folders(root: Path) -> list[Path]:
    """The folders of all fetched runs, the newest version last."""
    found = [folder for folder in from_here(root / "output" / "kernel").glob("*") if folder.is_dir()]
    number = {f: int(f.name[1:]) if f.name[1:].isdecimal() else 0 for f in found}
    return sorted(found, key=lambda f: (number[f], f.stat().st_mtime))


def newest_submission(root: Path) -> Path:
    """The submission of the newest fetched run, which is said; UserError where there is none."""
    found = fetched_folders(root)
    if not found:
        raise UserError("nothing is fetched yet.\n`fetch` downloads what the kernel left.")
    file = found[-1] / "submission.csv"
    if not file.is_file():
        raise UserError(f"{file}: the newest fetched run has none.\nFetch it again, or name another file.")
    print_wrapped(f"newest version: {file}")
    return file


def record_result(root: Path, folder: Path, source: Path) -> None:
    """Records a fetched run in results/ and rewrites the tables.

    source: where the competition's files and the labels are. Raises UserError, which says how to record the run later,
    where these are not there or not the run's data.
    """
    try:
        check_data(folder, source, competition.read_competition(source).digest)
        print_wrapped(f"recorded: {from_here(record.record(folder, source, root / 'results'))}")
    except UserError as error:
        reason = str(error).splitlines()[0]
        later = f"{record.COMMAND} {folder} --input DIR"
        raise UserError(f"fetched and not recorded: {reason}\nTo record it later: {later}") from None
    record.write_tables(root / "results")


def check_data(folder: Path, source: Path, data_digest: str) -> None:
    """Raises UserError where the files below `source`, with this digest, are not those of the run."""
    ran = RunFolder(folder).read_record().data_digest
    if ran != data_digest:
        raise UserError(
            f"{folder}: the run had the data {ran}, and {source} holds {data_digest}.\nGive the same files as --input."
        )
