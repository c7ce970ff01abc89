"""A home folder for users without one: what is set, and what of the user's is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.home_folder import ensure_home, private_folder
from tests.conftest import ROOT

# Where the libraries that a run uses keep their files, and the user's name that torch's compiler wants.
LIBRARIES = """
from src.home_folder import ensure_home
ensure_home()
import os, pathlib, torch
from huggingface_hub import constants
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
print(torch.hub.get_dir(), constants.HF_HUB_CACHE, default_cache_dir(), pathlib.Path.home(), sep="\\n")
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files; HOME and the user's name are restored afterwards."""
    monkeypatch.setenv("HOME", os.environ.get("HOME", "/"))
    monkeypatch.setenv("LOGNAME", "me")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_the_libraries_of_a_user_without_a_name_keep_their_files_in_one_private_folder(nameless, tmp_path):
    command = [sys.executable, "-c", LIBRARIES]
    env = nameless | {"PYTHONPATH": os.pathsep.join([nameless["PYTHONPATH"], str(ROOT)])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 4
    assert all(path.startswith(nameless["TMPDIR"]) for path in done.stdout.split()), done.stdout
    assert not list(tmp_path.glob("~"))


@pytest.mark.parametrize("home", [None, "~", "missing", "read-only"])
def test_a_home_folder_that_cannot_be_used_is_replaced_by_a_private_one(temporary, monkeypatch, home):
    folder = temporary / "home"
    if home == "read-only":
        folder.mkdir()
        real = os.access
        monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folder and real(path, mode))
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    else:
        monkeypatch.setenv("HOME", str(folder) if home in ("missing", "read-only") else home)
    ensure_home()
    assert Path.home() == private_folder() and Path.home().stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("settings", [None, ".kaggle", ".cache"])
def test_a_home_folder_that_can_be_used_is_left_alone(temporary, monkeypatch, settings):
    home = temporary / "home"
    home.mkdir()
    if settings:
        (home / settings).mkdir()
        real = os.access
        monkeypatch.setattr("os.access", lambda path, mode: Path(path) != home and real(path, mode))
    monkeypatch.setenv("HOME", str(home))
    ensure_home()
    assert os.environ["HOME"] == str(home) and os.environ["LOGNAME"] == "me"


@pytest.mark.parametrize("trap", ["open", "link", "file"])
def test_a_folder_of_that_name_that_others_could_write_to_is_not_used(temporary, trap):
    folder = private_folder()
    folder.rmdir()
    if trap == "open":
        folder.mkdir()
        folder.chmod(0o777)
    elif trap == "link":
        (temporary / "theirs").mkdir(mode=0o700)
        folder.symlink_to(temporary / "theirs")
    else:
        folder.write_text("")
    assert private_folder() != folder and private_folder().stat().st_mode & 0o077 == 0
