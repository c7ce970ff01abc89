"""Uploads a folder of backbone weights as a private dataset, and adds it to the kernel's sources.

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
from remote.client import Client, KaggleError
from src.errors import UserError

UNPACK_SECONDS, PAUSE = 900.0, 5.0  # how long Kaggle may unpack the dataset, and between two calls
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".t7", ".th", ".tar")  # those that a run reads


def upload(client: Client, root: Path, owner: str, folder: Path, name: str | None) -> str:
    """Uploads the files of `folder` as the private dataset owner/name, a new version where there is one; returns that.

    Raises UserError for a folder without weights or a name that Kaggle does not accept, KaggleError where it refuses.
    """
    files = weight_files(folder)
    dataset = f"{owner}/{dataset_slug(name or f'{folder.resolve().name}-weights')}"
    there = client.call("dataset_status", dataset=dataset, if_missing={"state": ""})["state"]
    with tempfile.TemporaryDirectory() as place:
        stage_files(Path(place), folder, files, dataset)
        answer = client.call("dataset", folder=place, new=not there, notes=f"{len(files)} files")
    if answer["lost"]:
        raise KaggleError(
            f"weights: the upload of {', '.join(answer['lost'])} failed; {dataset} is not complete.\n"
            "Run the same command again later."
        )
    if answer["error"] or answer["status"] != "ok":
        raise KaggleError(f"weights: Kaggle refused {dataset}: {answer['error'] or answer['status']}")
    wait_until_ready(client, dataset)
    kernel_metadata.add_dataset(root, dataset)
    return dataset


def weight_files(folder: Path) -> list[Path]:
    """The files to upload, in order; UserError where none of them can hold weights, or one is empty."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.\nName the folder that holds the weights.")
    found = [file for file in folder.rglob("*") if file.is_file()]
    files = sorted(f for f in found if not any(part.startswith(".") for part in f.relative_to(folder).parts))
    if not any(file.name.lower().endswith(SUFFIXES) for file in files):
        raise UserError(f"{folder}: no {', '.join(SUFFIXES)} there.\nName the folder that holds the weights.")
    if empty := [file.name for file in files if not file.stat().st_size]:
        raise UserError(f"{folder}: {', '.join(empty)} is empty.\nDownload it again, or remove it.")
    return files


def dataset_slug(name: str) -> str:
    """The dataset's name in an address."""
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not 6 <= len(made) <= 50:
        raise UserError(f"--name {name}: it becomes {made!r}, and Kaggle accepts 6 to 50 characters.")
    return made


def stage_files(place: Path, folder: Path, files: list[Path], dataset: str) -> None:
    """Puts what the client uploads below `place`: the files, as they lie below `folder`, and new metadata."""
    metadata = place / "dataset-metadata.json"
    for file in files:
        target = place / file.relative_to(folder)
        if target == metadata:  # the user's own, which a link would overwrite
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.resolve(), target)  # no second copy of gigabytes, where the disk allows it
        except OSError:
            shutil.copyfile(file, target)
    title = dataset.split("/")[1]
    content = {"id": dataset, "title": title, "licenses": [{"name": "other"}]}
    metadata.write_text(json.dumps(content), encoding="utf-8")


def wait_until_ready(client: Client, dataset: str) -> None:
    """Returns when Kaggle has unpacked the dataset: a push before that would lose it as a source."""
    end = time.monotonic() + UNPACK_SECONDS
    if_missing = {"state": "not there yet"}
    while (state := client.call("dataset_status", dataset=dataset, if_missing=if_missing)["state"]) != "ready":
        if state in ("failed", "deleted") or time.monotonic() > end:
            raise KaggleError(f"weights: {dataset} is {state}; see https://www.kaggle.com/datasets/{dataset}")
        time.sleep(PAUSE)
