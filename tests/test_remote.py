"""The whole round with the real client and loopback traffic alone, by the README's own commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.kaggle_server import KEY, SECRET_VARIABLES, USER, Kaggle

KERNEL = f"{USER}/fer2013-expressions"


def commit(project: Path) -> None:
    """Commits everything in a repository made for the test."""
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)


def copy_of_the_project(folder: Path) -> Path:
    """The files of the project that a round needs, committed in a repository of their own."""
    kept = ("README.md", ".gitignore", "build.py", "kernel_metadata.py", "kernel-metadata.json", "pyproject.toml")
    folder.mkdir()
    for name in kept:
        shutil.copy(ROOT / name, folder)
    for name in ("src", "results"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    commit(folder)
    return folder


def readme_commands(title: str) -> str:
    """The commands of the block that follows a bold title in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(rf"\*\*{re.escape(title)}\*\*.*?```sh\n(.*?)```", text, re.S)[1]


@pytest.fixture(scope="module")
def round_trip(faces, tmp_path_factory):
    """Runs the README's blocks as they stand; returns the server, the project and what was said."""
    place = tmp_path_factory.mktemp("round")
    project = copy_of_the_project(place / "project")
    shutil.copytree(faces, project / "input")
    bin_folder = project / ".venv/bin"
    bin_folder.mkdir(parents=True)
    for name in ("python", "kaggle"):
        start = "" if name == "python" else "-m kaggle "
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {start}"$@"\n')
        (bin_folder / name).chmod(0o755)
    with Kaggle(place, faces) as kaggle:
        kept = {k: v for k, v in os.environ.items() if k not in SECRET_VARIABLES and not k.startswith("FER_")}
        environment = kept | kaggle.environment(place / "home") | {"VERBOSE": "1"}
        environment["PATH"] = f"{bin_folder}:{kept['PATH']}"
        script = "set -e\n" + readme_commands("Run it on Kaggle.")
        done = subprocess.run(
            ["bash", "-c", script], cwd=project, env=environment, capture_output=True, text=True, timeout=120
        )
        yield kaggle, project, done


def test_the_readmes_commands_bring_a_scored_run_home(round_trip):
    kaggle, project, done = round_trip
    assert done.returncode == 0, done.stderr
    assert "version 1 pushed" in done.stdout and "COMPLETE" in done.stdout and "95 % interval" in done.stdout
    run = json.loads((project / "output/kernel/v1/run.json").read_text())
    assert run["status"] == "finished" and run["environment"]["kernel"] == "Batch"


def test_only_this_machine_is_spoken_to(round_trip):
    assert round_trip[0].foreign == []


def test_the_key_is_in_no_output_and_no_file(round_trip):
    _, project, done = round_trip
    assert KEY not in done.stdout + done.stderr
    held = [f for f in project.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]
    assert held == []
