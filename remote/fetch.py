"""Brings home what a run left, in order of worth, and believes none of it before it is checked.

The client writes what it gets: half a file where the connection breaks without a word, an error page under the file's
name. So every file is read back, and fetched again where it is damaged.
"""

import json
import struct
import sys
from pathlib import Path

import pandas as pd

from remote import client, watch
from remote.client import KaggleError
from remote.git_tags import KernelVersion
from src.data import competition
from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.files import digest
from src.run.folder import RunFolder
from src.run.record import RunRecord
from src.submit.check import parse_submission
from tools import record

WEIGHTS = r"\.(safetensors|pt|pth|ckpt|bin)$|checkpoint"
# In order of worth: what a score needs, what an ensemble needs, the rest of the record, and on request the weights.
STAGES = (
    r"^(submission\.csv|run\.json)$",
    r"^predictions/.*\.npz$",
    rf"^(?!submission\.csv$|run\.json$|predictions/)(?!.*({WEIGHTS}))",
)
TRIES = 3


def fetch(root: Path, kernel: str, pushed: KernelVersion | None, folder: Path, weights: bool = False) -> Path:
    """Downloads the kernel's output into `folder` and checks it; returns `folder`.

    pushed: the version that is expected, where it is known. Raises UserError where the kernel still runs, KaggleError
    where it failed (having fetched what there is), left nothing, or where what it left is damaged or of other sources.
    """
    answer = client.call("status", kernel=kernel)
    if answer["state"] not in watch.OVER:
        raise UserError(f"{kernel} is still {answer['state']}: there is no output yet.\n`watch` waits for it.")
    folder.mkdir(parents=True, exist_ok=True)
    got: list[Path] = []
    for pattern in (*STAGES, *([WEIGHTS] if weights else [])):
        got += download(kernel, folder, pattern)
        if folder / "run.json" in got:
            compare(RunFolder(folder).read_record(), pushed, folder)
    print(f"{len(got)} files in {folder}")
    if answer["state"] != "COMPLETE":
        raise KaggleError(
            f"{kernel}: it failed: {watch.explain(root, kernel, answer['message'])}\nWhat it left is in {folder}."
        )
    missing = [name for name in ("run.json", "submission.csv") if folder / name not in got]
    if missing:
        raise KaggleError(f"{kernel}: it completed and left no {' and no '.join(missing)}.\nIts log is in {folder}.")
    return folder


def download(kernel: str, folder: Path, pattern: str) -> list[Path]:
    """The files whose names match, each whole; those that came damaged are fetched again by name, or not left there."""
    files = [Path(f) for f in client.call("output", kernel=kernel, folder=str(folder), pattern=pattern)["files"]]
    files = [file for file in files if file.parent != folder or file.suffix != ".log"]
    for _ in range(TRIES - 1):
        for file, reason in damaged(files, folder).items():
            print(f"{file.relative_to(folder)}: {reason}; fetching it again", file=sys.stderr)
            client.call("output", kernel=kernel, folder=str(folder), pattern=exactly(file.relative_to(folder)))
    if wrong := damaged(files, folder):
        for file in wrong:
            file.unlink(missing_ok=True)
        names = ", ".join(file.relative_to(folder).as_posix() for file in wrong)
        reason = next(iter(wrong.values()))
        raise KaggleError(f"{names} came damaged {TRIES} times: {reason}.\nThe same command again, later.")
    return files


def damaged(files: list[Path], folder: Path) -> dict[Path, str]:
    """The files that are not whole, with what is wrong."""
    return {file: reason for file in files if (reason := damage(file, folder))}


def exactly(name: Path) -> str:
    """A pattern that no other name matches."""
    return "^" + "".join(c if c.isalnum() or c in "/_" else f"\\{c}" for c in name.as_posix()) + "$"


def damage(file: Path, folder: Path) -> str:
    """What is wrong with a fetched file of a run; empty where nothing is."""
    try:
        if not file.is_file():
            return "it did not come"
        if file != folder / "run.json" and (wanted := stated(folder).get(file.relative_to(folder).as_posix())):
            return "" if digest(file) == wanted else "its SHA-256 is not the one in run.json"
        if file == folder / "run.json":
            RunFolder(folder).read_record()
        elif file == folder / "submission.csv":
            return short_submission(file, folder)
        elif file.suffix == ".npz":
            load_predictions(file)
        elif file.suffix == ".csv":
            return short_history(file, folder)
        elif file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
        elif file.suffix == ".safetensors":
            return short_weights(file)
    except (UserError, ValueError, OSError, struct.error) as error:
        return str(error).splitlines()[0].replace(f"{file}: ", "")
    return ""


def stated(folder: Path) -> dict[str, str]:
    """Name → SHA-256, as the fetched run.json has them; nothing where it is not there, is damaged, or has none."""
    try:
        return RunFolder(folder).read_record().files
    except UserError:
        return {}


def short_submission(file: Path, folder: Path) -> str:
    """Fewer rows than run.json says, or a last row that is cut."""
    table, run = parse_submission(file), folder / "run.json"
    wanted = len(table.rows) if damage(run, folder) else RunFolder(folder).read_record().rows.test
    if len(table.rows) != wanted:
        return f"{len(table.rows):,} rows, and the run wrote {wanted:,}"
    return "" if table.rows[-1][table.label_column] in set("0123456") else "its last row is cut"


def short_history(file: Path, folder: Path) -> str:
    """Fewer epochs than run.json says of the member."""
    rows = len(pd.read_csv(file))
    result = RunFolder(folder).read_record().members.get(file.parent.name) if file.name == "history.csv" else None
    return f"{rows} epochs of {result.epochs}" if result and result.epochs != rows else ""


def short_weights(file: Path) -> str:
    """A safetensors file says at its beginning how long it is."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > file.stat().st_size:
            return "its header is cut"
        tensors = json.loads(stream.read(length))
    ends = [t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"]
    wanted = 8 + length + max(ends, default=0)
    return "" if file.stat().st_size == wanted else f"{file.stat().st_size:,} bytes of {wanted:,}"


def compare(ran: RunRecord, pushed: KernelVersion | None, folder: Path) -> None:
    """Raises KaggleError where the output is not of the sources that were pushed, or its predictions of another run."""
    if pushed and ran.code.digest != pushed.digest:
        raise KaggleError(
            f"{folder / 'run.json'} is of the sources {ran.code.digest}, "
            f"and {pushed.name} was pushed with {pushed.digest}.\n"
            "The output belongs to another version: `watch`, or push again."
        )
    for file in sorted((folder / "predictions").glob("*.npz")):
        header = load_predictions(file, ran.data_digest).header
        if header.get("config_hash") != ran.config_hash:
            raise KaggleError(f"{file} is of another recipe than run.json.\nDelete {folder} and fetch again.")


def put_into_results(root: Path, folder: Path, source: Path) -> bool:
    """Records a fetched run in results/ and remakes the tables; False, with a line that says why, where it cannot be.

    source: where the competition's files and the labels are. Raises UserError where these are not the run's data.
    """
    why = "not in results/ yet, since it cannot be scored"
    try:
        here = competition.read_competition(source).digest
    except UserError as error:
        print(f"{why}: {str(error).splitlines()[0]}")
        return False
    check_data(folder, source, here)
    try:
        print(record.record(folder, source, root / "results"))
    except UserError as error:
        print(f"{why}: {str(error).splitlines()[0]}")
        return False
    return record.main(["--results", str(root / "results"), "--readme", str(root / "README.md")]) == 0


def check_data(folder: Path, source: Path, here: str) -> None:
    """Raises UserError where the files below `source`, whose digest is `here`, are not those of the run."""
    ran = RunFolder(folder).read_record().data_digest
    if ran != here:
        raise UserError(
            f"{folder}: the run had the data {ran}, and {source} holds {here}.\nGive the same files as --input."
        )


def folder_of(root: Path, pushed: KernelVersion | None) -> Path:
    """output/kernel/v<N>, or output/kernel/latest for a version that nobody here pushed."""
    return root / "output" / "kernel" / (f"v{pushed.version}" if pushed else "latest")


def fetched(root: Path) -> list[Path]:
    """The folders of all fetched runs that have a submission, the newest version last."""
    found = [file.parent for file in (root / "output" / "kernel").glob("*/submission.csv")]
    number = {f: int(f.name[1:]) if f.name[1:].isdecimal() else 0 for f in found}
    return sorted(found, key=lambda f: (number[f], f.stat().st_mtime))


def newest(root: Path) -> Path:
    """The folder of the newest fetched run; UserError where there is none."""
    found = fetched(root)
    if not found:
        raise UserError("nothing is fetched yet.\n`fetch` brings home what the kernel left.")
    return found[-1]
