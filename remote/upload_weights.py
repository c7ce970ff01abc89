"""Packs a folder of backbone weights as a private dataset, and adds it to the kernel's sources.

A kernel without internet has what is attached to it and nothing else.
"""

import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import kernel_metadata
from remote import client
from remote.client import KaggleError
from src.errors import UserError

WAIT, PAUSE = 900.0, 5.0  # seconds until Kaggle has unpacked the dataset, and between two questions
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def pack(root: Path, owner: str, folder: Path, name: str | None) -> str:
    """Uploads the files of `folder` as the private dataset owner/name, a new version where there is one; returns that.

    Raises UserError for a folder without weights or a name that Kaggle does not take, KaggleError where it refuses.
    """
    files = contents(folder)
    dataset = f"{owner}/{slug(name or f'{folder.resolve().name}-weights')}"
    there = client.call("dataset_status", dataset=dataset, absent={"state": ""})["state"]
    with tempfile.TemporaryDirectory() as place:
        stage(Path(place), folder, files, dataset)
        answer = client.call("dataset", folder=place, new=not there, notes=f"{len(files)} files")
    if answer["lost"]:
        raise KaggleError(
            f"weights: the upload of {', '.join(answer['lost'])} failed; {dataset} is not complete.\n"
            "The same command again, later."
        )
    if answer["error"] or answer["status"] != "ok":
        raise KaggleError(f"weights: Kaggle refused {dataset}: {answer['error'] or answer['status']}")
    wait(dataset)
    kernel_metadata.add_dataset(root, dataset)
    return dataset


def contents(folder: Path) -> list[Path]:
    """The files to pack, in order; UserError where none of them can hold weights, or one is empty."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.\nName the folder that holds the weights.")
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not f.relative_to(folder).as_posix().startswith("."))
    if not any(file.suffix in SUFFIXES for file in files):
        raise UserError(f"{folder}: no {', '.join(SUFFIXES)} there.\nName the folder that holds the weights.")
    if empty := [file.name for file in files if not file.stat().st_size]:
        raise UserError(f"{folder}: {', '.join(empty)} is empty.\nDownload it again, or remove it.")
    return files


def slug(name: str) -> str:
    """The dataset's name in an address."""
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not 6 <= len(made) <= 50:
        raise UserError(f"--name {name}: it becomes {made!r}, and Kaggle takes 6 to 50 characters.")
    return made


def stage(place: Path, folder: Path, files: list[Path], dataset: str) -> None:
    """Lays out what the client uploads: the files, flat below `place` as they lie below `folder`, and the metadata."""
    for file in files:
        target = place / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.resolve(), target)  # no second copy of gigabytes, where the disk allows it
        except OSError:
            shutil.copyfile(file, target)
    title = dataset.split("/")[1]
    content = {"id": dataset, "title": title, "licenses": [{"name": "other"}]}
    (place / "dataset-metadata.json").write_text(json.dumps(content), encoding="utf-8")


def wait(dataset: str) -> None:
    """Returns when Kaggle has unpacked the dataset: a push before that would lose it as a source."""
    end = time.monotonic() + WAIT
    while (state := client.call("dataset_status", dataset=dataset, absent={"state": "on its way"})["state"]) != "ready":
        if state in ("failed", "deleted") or time.monotonic() > end:
            raise KaggleError(f"weights: {dataset} is {state}; see https://www.kaggle.com/datasets/{dataset}")
        time.sleep(PAUSE)
