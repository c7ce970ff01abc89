"""An earlier run of the kit that is attached as an input: its finished members and half-trained ones are taken over."""

import shutil
from collections.abc import Callable
from pathlib import Path

from src.bounded_io import list_files
from src.errors import UserError
from src.run_folder import RunFolder, differences

TAKEN = ("predictions", "members", "submission.csv", "run.json")


def take_over(source: Path, target: RunFolder, identity: dict, say: Callable[[str], None]) -> bool:
    """Copies the newest run below `source` that is this very run into the folder `target`; whether there was one.

    identity: the digests that tell one run from another, as `differences` takes them. Says of every other run that it
    found why it is not taken over.
    """
    fitting = []
    for file in (file for file in list_files(source) if file.name == "run.json"):
        folder = RunFolder(file.parent)
        if folder.path.resolve() == target.path.resolve():
            continue
        if reason := unfit(folder, identity):
            say(f"{folder.path}: an earlier run, not taken over: {reason}")
        else:
            fitting.append(folder)
    if not fitting:
        return False
    newest = max(fitting, key=lambda folder: folder.run_json.stat().st_mtime)
    for name in TAKEN:
        copy(newest.path / name, target.path / name)
    say(f"goes on with the run attached in {newest.path}")
    return True


def unfit(folder: RunFolder, identity: dict) -> str:
    """Why a run cannot be taken over; empty where it can."""
    try:
        return differences(folder.read(), identity)
    except UserError:
        return "its run.json is damaged, or not of this kit"


def copy(path: Path, target: Path) -> None:
    """Copies a file or a folder, where it is there. Not its permissions: an attached input cannot be written to."""
    if path.is_dir():
        shutil.copytree(path, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    elif path.is_file():
        shutil.copyfile(path, target)
