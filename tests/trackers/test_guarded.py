"""A tracker never stops a training, and none is imported when off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.run import members
from src.trackers import guarded
from src.trackers.guarded import Trackers, describe_tracking
from src.trackers.tracker import Tracker
from tests.conftest import ROOT
from tests.support.small_runs import train
from tests.trackers.conftest import run_small

METHODS = ("log_steps", "log_epoch", "log_evaluation", "close")


class Recorder(Tracker):
    """Remembers its calls, and raises in some."""

    def __init__(self, *failing: str):
        self.failing, self.calls = failing, []

    def __getattribute__(self, name):
        if name not in METHODS:
            return super().__getattribute__(name)

        def call(*arguments, **more):
            self.calls.append(name)
            if name in self.failing:
                raise RuntimeError(f"{name} is broken\nand more")

        return call


@pytest.fixture
def opened(monkeypatch):
    """Opens trackers by name: those given here, or an error."""

    def make(**found):
        def open_tracker(name, training):
            if isinstance(found[name], Exception):
                raise found[name]
            return found[name]

        monkeypatch.setattr(guarded, "open_tracker", open_tracker)
        monkeypatch.setattr(guarded, "is_installed", lambda name: True)

    return make


def use(trackers: Trackers) -> None:
    trackers.log_steps([{"step": 1}])
    trackers.log_epoch({"epoch": 1, "lr": 0.1})
    trackers.log_evaluation(lambda: None)
    trackers.close()


@pytest.mark.parametrize("method", METHODS)
def test_a_tracker_that_raises_is_given_up_with_one_line_and_the_other_continues(opened, method):
    lines, broken = [], set()
    opened(wandb=(bad := Recorder(method)), tensorboard=(good := Recorder()))
    trackers = Trackers(lines.append, broken)
    trackers.open(["wandb", "tensorboard"], lambda: None)
    use(trackers)
    assert lines == [f"warning: wandb failed, the training continues without it ({method} is broken)"]
    assert good.calls == list(METHODS) and bad.calls[-1] == "close" and broken == {"wandb"}


def test_a_tracker_is_closed_where_the_submission_cannot_be_written(opened, faces, tmp_path, monkeypatch):
    def full(context):
        raise OSError("no space left")

    opened(tensorboard=(recorder := Recorder()))
    monkeypatch.setattr(members, "submit", full)
    with pytest.raises(OSError, match="no space left"):
        train(faces, tmp_path / "run", "track=tensorboard")
    assert recorder.calls[-1] == "close" and recorder.calls.count("close") == 1


def test_a_tracker_that_cannot_be_opened_is_not_tried_again(opened):
    lines, broken = [], set()
    opened(wandb=OSError("no space left"))
    for _ in range(2):
        trackers = Trackers(lines.append, broken)
        trackers.open(["wandb"], lambda: None)
        assert not trackers
        use(trackers)
    assert len(lines) == 1 and "no space left" in lines[0]


def test_a_result_that_cannot_be_made_costs_the_tracker_alone(opened):
    lines = []
    opened(tensorboard=Recorder())
    trackers = Trackers(lines.append, set())
    trackers.open(["tensorboard"], lambda: None)
    trackers.log_evaluation(lambda: 1 / 0)
    assert "division by zero" in lines[0]


def test_a_run_whose_tracker_raises_in_each_call_ends_with_the_same_weights(opened, faces, tmp_path, tracked_run):
    opened(wandb=Recorder(*METHODS), tensorboard=RuntimeError("broken"))
    record = run_small(faces, tmp_path / "run", "wandb+tensorboard")
    log = (tmp_path / "run/log.txt").read_text()
    assert record.status == "finished" and log.count("the training continues without it") == 2
    same = [folder / "members/small/model.safetensors" for folder in (tmp_path / "run", tracked_run.folder)]
    assert same[0].read_bytes() == same[1].read_bytes()  # that one was tracked, stopped and resumed


def test_without_the_packages_a_line_says_how_to_install_them(monkeypatch):
    monkeypatch.setattr(guarded, "is_installed", lambda name: False)
    lines = describe_tracking("wandb+tensorboard", Path("tracking"))
    assert len(lines) == 2 and all("requirements-tracking.txt" in line for line in lines)
    trackers = Trackers(lines.append, set())
    trackers.open(["wandb"], lambda: None)
    assert not trackers and len(lines) == 2


OFF_AND_ON = """
import sys
from pathlib import Path
from src.trackers.tensorboard_tracker import TensorBoardTracker
from src.trackers.tracker import TrackedTraining
from tests.trackers.conftest import run_small

faces, folder = map(Path, sys.argv[1:])
run_small(faces, folder / "run", "none", 1)
print("imported", sorted({name.split(".")[0] for name in sys.modules} & {"wandb", "tensorboard"}))
tracker = TensorBoardTracker(TrackedTraining("m", "g", (), {}, folder, folder / "id"))
tracker.log_epoch(1, {"lr": 1.0})
tracker.close(False)
"""


def test_a_folder_that_is_called_as_a_package_is_none(monkeypatch, tmp_path):
    (tmp_path / "wandb_files").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not guarded.is_installed("wandb_files") and guarded.is_installed("torch")


def test_nothing_is_imported_when_off_and_tensorboard_does_not_import_tensorflow(faces, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-c", OFF_AND_ON, str(faces), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "imported []" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "run/tracking").exists() and "track" not in (tmp_path / "run/log.txt").read_text()
