"""Users and the Kaggle client's knowledge of them: nothing of the real user reaches a test."""

import os
from pathlib import Path

import pytest

import kaggle_account
from tests.support.kaggle_server import SECRET_VARIABLES

# Put first on PYTHONPATH as sitecustomize.py: the system then knows no name for the user's number.
NAMELESS = """import pwd
def getpwuid(number):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = getpwuid
"""
NAME_VARIABLES = ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")


@pytest.fixture
def no_account(monkeypatch, tmp_path) -> Path:
    """A user of whom the Kaggle client knows nothing; returns the folder in which it looks for kaggle.json."""
    for name in (*SECRET_VARIABLES, "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home" / "kaggle"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(folder))
    kaggle_account.name_of_token.cache_clear()
    return folder


@pytest.fixture
def nameless(tmp_path) -> dict[str, str]:
    """The environment of a user whose number has no name and no home folder, with an empty temporary folder."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NAMELESS)
    (tmp_path / "temporary").mkdir()
    unknown = (*NAME_VARIABLES, *SECRET_VARIABLES, "KAGGLE_CONFIG_DIR")
    kept = {key: value for key, value in os.environ.items() if key not in unknown}
    return kept | {"PYTHONPATH": str(tmp_path / "site"), "TMPDIR": str(tmp_path / "temporary")}
