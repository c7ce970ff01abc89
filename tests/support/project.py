"""What the tests of remote share: a project in a repository of its own, and its commands against a server."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import build
from remote import client
from remote.main import main
from tests.conftest import ROOT
from tests.support.kaggle_server import KEY, SECRET_VARIABLES, USER, Kaggle
from tests.support.metadata import write_metadata

KERNEL = f"{USER}/fer2013-expressions"
KEPT = ("README.md", ".gitignore", "build.py", "kernel_metadata.py", "pyproject.toml")


def git(project: Path, *arguments: str) -> str:
    """What git says in a repository made for a test."""
    author = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(project), *author, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def new_project(folder: Path) -> Path:
    """The files of the project that a round needs, committed in a repository of their own; nothing of its user's."""
    folder.mkdir(parents=True)
    for name in KEPT:
        shutil.copy(ROOT / name, folder)
    write_metadata(folder)
    (folder / "results").mkdir()
    for name in ("src", "remote", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "x")
    return folder


def outside_of_kaggle() -> dict[str, str]:
    """This environment without anything that a client, or a run, would take for its settings."""
    return {k: v for k, v in os.environ.items() if k not in SECRET_VARIABLES and not k.startswith("FER_")}


@dataclass
class Round:
    """A project, the server that it talks to, and its commands, run in this process; the client is in its own."""

    root: Path
    kaggle: Kaggle
    capture: object

    def __call__(self, *command: str, code: int = 0) -> str:
        """Runs a command that must end with `code`; returns all it said, which never holds the key."""
        found = main(list(command), self.root)
        out, err = self.capture.readouterr()
        assert found == code, out + err
        assert KEY not in out + err and "Traceback (most recent call last)" not in err.split("\nerror: ")[-1]
        return out + err

    def error(self, *command: str, code: int) -> str:
        """The error with which a command ends: one line or two."""
        said = "\n" + self(*command, code=code)
        lines = said.split("\nerror: ")[-1].strip().splitlines()
        assert "\nerror: " in said and len(lines) <= 2 and all(len(line) < 300 for line in lines), said
        return " ".join(lines)

    @property
    def pushes(self) -> list[dict]:
        return [body for name, body in self.kaggle.calls if name == "SaveKernel"]


def new_round(base: Path, place: Path, faces: Path, monkeypatch, capture) -> Round:
    """A copy of the project `base`, built, in `place`, with a server that does not serve yet."""
    shutil.copytree(base, place / "project")
    kaggle = Kaggle(place, faces)
    for name in SECRET_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in kaggle.environment(place / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client, "PAUSES", [0.0])
    return Round(place / "project", kaggle, capture)


def built_project(folder: Path, settings: tuple[str, ...] = ("epochs=1",)) -> Path:
    """A new project with the quick recipe built."""
    project = new_project(folder)
    build.build(project, project / build.OUTPUT, "quick", [*settings])
    return project
