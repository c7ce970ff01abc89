"""docs/extending.md does what it says: each section is executed in a copy of the project."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FOLDERS = ("src", "tests", "tools", "remote")
PYTEST = "python -m pytest "


@pytest.fixture(scope="module")
def project(tmp_path_factory, faces) -> Path:
    """A copy of the project with the competition's files in input/. Later sections build on earlier ones."""
    root = tmp_path_factory.mktemp("project")
    for name in filter(lambda name: (ROOT / name).is_dir(), FOLDERS):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.py"), ROOT / "pyproject.toml"):
        shutil.copy(file, root)
    shutil.copytree(faces, root / "input")
    return root


def blocks(section: str) -> list[tuple[str, str]]:
    """Language and content of each code block of a section."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def write_file(root: Path, content: str) -> None:
    """Writes a new file, whose path is in the first line."""
    path = root / content.splitlines()[0].removeprefix("# ")
    assert not path.exists(), path
    path.write_text(content.split("\n", 1)[1], encoding="utf-8")


def apply_change(root: Path, content: str) -> None:
    """Adds and removes the lines of a diff, whose path is in the first line, at the only place where it fits."""
    name, *lines = content.splitlines()
    before, after = ("\n".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" -", " +"))
    text = (root / name).read_text(encoding="utf-8")
    assert text.count(before) == 1, (name, before)
    (root / name).write_text(text.replace(before, after), encoding="utf-8")


def lines_of_commands(content: str) -> list[str]:
    """The commands of a block, a line each."""
    return content.replace("\\\n", "").splitlines()


def run_commands(root: Path, content: str) -> None:
    """Runs each line but those of pytest; each must succeed."""
    for line in lines_of_commands(content):
        if not line.startswith(PYTEST):
            run_python(root, *shlex.split(line.removeprefix("python ")))


def run_python(root: Path, *arguments: str) -> None:
    """Runs Python with these arguments from the project's root; it must succeed."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("FER_")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


SECTIONS = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_of_the_page_works(project, section):
    found = blocks(section)
    assert found
    for language, content in found:
        {"python": write_file, "diff": apply_change, "sh": run_commands}[language](project, content)


def test_the_tests_that_the_page_names_pass(project):
    """All in one process, after the last section: to start one for each takes longer than the tests."""
    commands = [line for section in SECTIONS for _, text in blocks(section) for line in lines_of_commands(text)]
    asked = [shlex.split(line.removeprefix(PYTEST)) for line in commands if line.startswith(PYTEST)]
    assert len(asked) >= 4
    run_python(project, "-c", f"import pytest, sys; sys.exit(max(map(pytest.main, {asked!r})))")
