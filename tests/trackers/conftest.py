"""A small run that W&B and TensorBoard track, interrupted after its first epoch and continued."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from src.config import Member, Recipe
from src.run.context import RunRequest
from src.run.record import Code, RunRecord
from src.run.run import run
from src.train.callbacks import TrainingCallbacks
from tests.support.small_runs import Killed


@dataclass
class TrackedRun:
    """What the run left. home: was its home folder; asked: whether something went to the network; children: of this
    process, after the run.
    """

    folder: Path
    home: Path
    asked: bool
    children: list[str]


def small_request(faces: Path, output: Path, track: str, epochs: int = 2) -> RunRequest:
    """A run of one small member."""
    member = Member("small", network="compact_cnn", epochs=epochs, batch_size=32, lr=3e-3)
    recipe = Recipe("tiny", members=(member,), max_train_rows=150, track=track)
    return RunRequest(recipe, Code("0" * 16, "abc1234", False), faces, output, "cpu")


def run_small(*request) -> RunRecord:
    """Does the run of `small_request`, without its report, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.run.run.write_report", lambda context: None)
        return run(small_request(*request))


@pytest.fixture(scope="session")
def tracked_run(faces, tmp_path_factory) -> TrackedRun:
    """Skips the test where the packages are not installed."""
    for package in ("wandb", "tensorboard"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -r requirements-tracking.txt")
    folder, home = tmp_path_factory.mktemp("tracked") / "run", tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        patch.setenv("HOME", str(home))
        stop_after_first_epoch(faces, folder)
        run_small(faces, folder, "wandb+tensorboard")
        proxy.settimeout(0)
        asked = True
        try:
            proxy.accept()
        except BlockingIOError:
            asked = False
    return TrackedRun(folder, home, asked, children())


def stop_after_first_epoch(faces: Path, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        save = TrainingCallbacks.save

        def stop(self, snapshot, state):
            save(self, snapshot, state)
            if state.epochs == 1:
                self.checkpoints.join()
                raise Killed

        patch.setattr(TrainingCallbacks, "save", stop)
        with pytest.raises(Killed):
            run_small(faces, folder, "wandb+tensorboard")


def children() -> list[str]:
    """The names of this process's children, on Linux."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = file.read_text().split(" ", 1)[1].rsplit(")", 1)
        except OSError:  # it has ended
            continue
        state, parent = rest.split()[:2]
        if int(parent) == os.getpid() and state != "Z":
            found.append(name)
    return found
