"""What `make` says before and after it installs, with a Python that installs nothing."""

import shutil
import subprocess

import pytest

from tests.conftest import ROOT

PYTHON = """#!/bin/sh
case "$*" in
  *"-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  *"pip install"*) echo "pip: $*" ;;
esac
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="this system has no make")
@pytest.mark.parametrize("target", ["setup", ".venv-kernel/installed"])
def test_make_says_what_it_installs_how_much_and_how_long_before_it_does(tmp_path, target):
    for name in (
        "Makefile",
        "requirements.txt",
        "requirements-tracking.txt",
        "constraints.txt",
        "constraints-kernel.txt",
    ):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    command = ["make", "--no-print-directory", target, "PYTHON=./python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    folder = ".venv" if target == "setup" else ".venv-kernel"
    assert done.returncode == 0 and lines[0].startswith(f"Installing into {folder}, "), done
    said = "".join(lines[:2])
    assert (
        "minutes" in said and "GB to download" in said and "GB on the disk" in said and max(map(len, lines[:2])) <= 79
    )
    (pip,) = [number for number, line in enumerate(lines) if line.startswith("pip: ")]
    assert pip > 1 and "--quiet" in lines[pip] and lines[-1].startswith("Installed: ")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0 and "nstall" not in again.stdout.replace("installed'", "")
