"""Downloads what a run left, the most valuable files first, and checks each of them.

The client writes what it gets: half a file where the connection breaks silently, an error page under the file's name.
So every file is read back, and fetched again where it is damaged.
"""

import sys
from pathlib import Path

from remote import watch
from remote.client import Client, KaggleError
from remote.git_tags import KernelVersion
from remote.verify import damaged_files
from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.run.run_folder import RunFolder
from src.terminal import print_wrapped
from src.trackers.wandb_tracker import sync_command

WEIGHTS = r"\.(safetensors|pt|pth|ckpt|bin)$|checkpoint"
# First what a score needs, then what an ensemble needs, then the rest, and the weights on request.
STAGES = (
    r"^(submission\.csv|run\.json)$",
    r"^predictions/.*\.npz$",
    rf"^(?!submission\.csv$|run\.json$|predictions/)(?!.*({WEIGHTS}))",
)
TRIES = 3


def fetch(
    client: Client, root: Path, kernel: str, pushed: KernelVersion | None, folder: Path, weights: bool = False
) -> Path:
    """Downloads the kernel's output into `folder` and checks it; returns `folder`.

    pushed: the version that is expected, where it is known. Raises UserError where the kernel still runs. Raises
    KaggleError where the kernel failed (having fetched what there is), left nothing, or left damaged files or the
    output of other sources.
    """
    answer = client.call("status", kernel=kernel)
    if answer["state"] not in watch.FINISHED_STATES:
        raise UserError(f"{kernel} is still {answer['state']}: there is no output yet.\n`watch` waits for it.")
    folder.mkdir(parents=True, exist_ok=True)
    got: list[Path] = []
    for pattern in (*STAGES, *([WEIGHTS] if weights else [])):
        got += download(client, kernel, folder, pattern)
        if folder / "run.json" in got:
            check_origin(folder, pushed)
    print_wrapped(f"{len(got)} files in {from_here(folder)}")
    say_how_to_upload_tracking(folder, weights)
    if answer["state"] != "COMPLETE":
        reason = watch.explain_end(client, root, kernel, answer)
        raise KaggleError(f"{kernel}: {reason}\nWhat it left is in {from_here(folder)}.")
    missing = [name for name in ("run.json", "submission.csv") if folder / name not in got]
    if missing:
        raise KaggleError(
            f"{kernel}: it completed and left no {' and no '.join(missing)}.\nIts log is in {from_here(folder)}."
        )
    return folder


def from_here(path: Path) -> Path:
    """The path as one writes it in the current folder, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def say_how_to_upload_tracking(folder: Path, weights: bool) -> None:
    """Prints the command that uploads what the run tracked offline with W&B, if it did."""
    tracking = RunFolder(folder).tracking
    if any(tracking.glob("wandb/offline-run-*/*.wandb")):
        print(f"tracked offline; to upload it to W&B: {sync_command(tracking)}")
        if not weights:
            print("(the networks too: first fetch --weights)")


def download(client: Client, kernel: str, folder: Path, pattern: str) -> list[Path]:
    """The files whose names match, each whole. A damaged file is fetched again; in the end it is deleted."""
    files = [Path(f) for f in client.call("output", kernel=kernel, folder=str(folder), pattern=pattern)["files"]]
    files = [file for file in files if file.parent != folder or file.suffix != ".log"]
    for _ in range(TRIES - 1):
        for file, reason in damaged_files(files, folder).items():
            print(f"{file.relative_to(folder)}: {reason}; fetching it again", file=sys.stderr)
            client.call("output", kernel=kernel, folder=str(folder), pattern=exact_pattern(file.relative_to(folder)))
    if damaged := damaged_files(files, folder):
        for file in damaged:
            file.unlink(missing_ok=True)
        names = ", ".join(file.relative_to(folder).as_posix() for file in damaged)
        reason = next(iter(damaged.values()))
        raise KaggleError(f"{names} came damaged {TRIES} times: {reason}.\nRun the same command again later.")
    return files


def exact_pattern(name: Path) -> str:
    """A regular expression that matches this name only."""
    return "^" + "".join(c if c.isalnum() or c in "/_" else f"\\{c}" for c in name.as_posix()) + "$"


def check_origin(folder: Path, pushed: KernelVersion | None) -> None:
    """Raises KaggleError where the output is not of the sources that were pushed, or its predictions of another run."""
    run = RunFolder(folder).read_record()
    ran = run.code.digest
    if pushed and pushed.digest not in ("", ran):
        raise KaggleError(
            f"{folder / 'run.json'} is of the sources {ran}, and {pushed.name} was pushed with {pushed.digest}.\n"
            "The output belongs to another version: `watch`, or push again."
        )
    for file in sorted((folder / "predictions").glob("*.npz")):
        header = load_predictions(file, run.data_digest).header
        if header.get("config_hash") != run.config_hash:
            raise KaggleError(f"{file} is of another recipe than run.json.\nDelete {folder} and fetch again.")
