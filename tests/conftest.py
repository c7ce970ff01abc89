"""Shared by many tests: synthetic faces in the competition's files, and the folder of the real ones."""

import os
import signal
from pathlib import Path

import pytest
import torch

from src.data import synthetic

pytest_plugins = [
    "tests.support.account",
    "tests.support.browser",
    "tests.support.narrow_networks",
    "tests.support.trees",
]

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored, and all that they start would ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes name no test: an archive holds the time, and two processes that collect the tests must find equal names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="module")
def one_thread():
    """A file's tests on torch with one thread: threads do not survive a fork; arithmetic depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    """A folder with 300 training and 80 test faces in the four CSV files of the competition."""
    folder = tmp_path_factory.mktemp("faces")
    synthetic.write_files(folder, train=300, test=80, seed=1)
    return folder


@pytest.fixture(scope="session")
def real_files() -> Path:
    """The competition's own files: named by FER_INPUT, or in input/; the test is skipped where they are not."""
    folder = Path(os.environ.get("FER_INPUT") or ROOT / "input")
    if not any(folder.rglob("train.csv")):
        pytest.skip("the competition's files are not here: FER_INPUT does not name them, and input/ does not hold them")
    return folder


def fake_bundle(**changes) -> dict:
    """What a built script gives to `main`; the changes are of any of its keys, or of its code's."""
    code = {"digest": "0" * 16, "commit": "abc1234", "dirty": False}
    code |= {key: changes.pop(key) for key in code if key in changes}
    return {"code": code, "recipe": "quick", "overrides": []} | changes
