"""Projects in repositories of their own, for tests of the round trip; nothing in them is the user's."""

import shutil
import subprocess
from pathlib import Path

import build
from tests.conftest import ROOT
from tests.support.kaggle_server import USER
from tests.support.metadata import write_metadata

KERNEL = f"{USER}/fer2013-expressions"
SMALL = {
    "src/__init__.py": "",
    "src/work.py": "def answer():\n    return 42\n",
    "src/main.py": "from src.work import answer\n\n\ndef main(argv, bundle):\n    print(answer())\n    return 0\n",
    ".gitignore": "kernel/*.py\noutput/\n__pycache__/\n",
}


def git(project: Path, *arguments: str) -> str:
    """The output of a git command in a repository made for a test."""
    author = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(project), *author, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit_all(project: Path) -> Path:
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "x")
    return project


def small_project(folder: Path) -> Path:
    """Two source files, committed, and the script that build.py makes of them for the recipe `quick`."""
    for name, text in SMALL.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    write_metadata(folder)
    (folder / "results").mkdir()
    build.build(commit_all(folder), folder / build.OUTPUT, "quick", ["epochs=1"])
    return folder


def build_script(folder: Path, recipe: str, *overrides: str) -> Path:
    """The project's own script, built in an empty `folder`; returns its path."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    write_metadata(folder)
    build.build(folder, folder / build.OUTPUT, recipe, [*overrides])
    return folder / build.OUTPUT


def whole_project(folder: Path) -> Path:
    """All sources of the project, committed."""
    folder.mkdir(parents=True)
    for file in (*ROOT.glob("*.py"), *(ROOT / name for name in ("README.md", ".gitignore", "pyproject.toml"))):
        shutil.copy(file, folder)
    for name in ("src", "remote", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_metadata(folder)
    (folder / "results").mkdir()
    return commit_all(folder)
