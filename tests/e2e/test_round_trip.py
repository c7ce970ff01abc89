"""The whole round trip with the real client and a server on this machine, by the README's own commands."""

import json
import os
import re
import subprocess
import sys

import pytest

from src.data import synthetic
from tests.conftest import ROOT
from tests.support.kaggle_server import KEY, SECRET_VARIABLES, Kaggle
from tests.support.project import git, whole_project


def readme_commands(title: str) -> str:
    """The commands of the block that follows a bold title in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(rf"\*\*{re.escape(title)}\*\*.*?```sh\n(.*?)```", text, re.S)[1]


def install(project) -> None:
    """What `make` leaves: .venv/bin with Python and the client."""
    (project / ".venv/bin").mkdir(parents=True)
    for name, start in (("python", ""), ("kaggle", "-m kaggle ")):
        file = project / ".venv/bin" / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {start}"$@"\n')
        file.chmod(0o755)


@pytest.fixture(scope="module")
def round_trip(tmp_path_factory):
    """Runs two blocks of the README as they stand; returns the server, the project and what the second one said."""
    place = tmp_path_factory.mktemp("round")
    synthetic.write_files(place / "faces", train=150, test=60, seed=1)
    project = whole_project(place / "project")
    install(project)
    with Kaggle(place, place / "faces") as kaggle:
        kaggle.runs_kernels = True
        # Nothing that a client, or a run, would take for its settings.
        kept = {k: v for k, v in os.environ.items() if k not in SECRET_VARIABLES and not k.startswith("FER_")}
        environment = kept | kaggle.environment(place / "home")
        options = {"cwd": project, "capture_output": True, "text": True, "timeout": 400}
        first = ["bash", "-ec", readme_commands("Get the data.")]
        got = subprocess.run(first, env=environment, **options)
        assert got.returncode == 0, got.stdout + got.stderr
        # VERBOSE makes the client print its requests with the key in them.
        second = ["bash", "-ec", readme_commands("Run it on Kaggle.")]
        yield kaggle, project, subprocess.run(second, env=environment | {"VERBOSE": "1"}, **options)


def test_the_readmes_commands_lead_to_a_scored_run_and_its_score_to_the_commit(round_trip):
    kaggle, project, done = round_trip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "version 1 pushed" in done.stdout and "COMPLETE" in done.stdout and "95 % interval" in done.stdout
    run = json.loads((project / "output/kernel/v1/run.json").read_text())
    assert run["status"] == "finished" and run["environment"]["kernel"] == "Batch"
    assert "Likely label errors" in (project / "output/kernel/v1/report.html").read_text("utf-8")
    assert len([*(project / "output/kernel/v1/figures").glob("*.png")]) > 5
    assert [len(v) for v in kaggle.kernels.values()] == [1] and kaggle.count("SaveKernel") == 1
    assert not any((project / "results").iterdir())
    assert git(project, "status", "--porcelain") == " M kernel-metadata.json\n"  # the owner's name
    assert git(project, "rev-parse", "kernel-v1^{}").startswith(run["code"]["commit"])


def test_only_this_machine_is_spoken_to_and_the_key_is_in_no_output_and_no_file(round_trip):
    kaggle, project, done = round_trip
    assert kaggle.foreign == [] and KEY not in done.stdout + done.stderr
    assert [f for f in project.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()] == []
