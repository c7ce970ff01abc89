"""A kernel that was cut off goes on in the next version, with its own last output as an input."""

import time

import pytest

from src.submit.check import check_submission
from tests.support.project import KERNEL, built_project, new_round

MEMBER = "members/simple_cnn_v2/checkpoint.pt"


@pytest.fixture
def remote(tmp_path, faces, monkeypatch, capfd):
    settings = ("epochs=1", "max_train_rows=150", "simple_cnn_v2.epochs=15")
    base = built_project(tmp_path / "base" / "project", settings)
    round_trip = new_round(base, tmp_path, faces, monkeypatch, capfd)
    with round_trip.kaggle:
        yield round_trip


def wait(condition) -> None:
    end = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_pushed_run_that_was_killed_goes_on_over_the_air(remote):
    remote("push")
    (first,) = remote.kaggle.kernels[KERNEL]
    wait((first.working / MEMBER).exists)
    first.process.kill()
    first.process.wait()
    remote("push", "--resume")
    second = remote.kaggle.kernels[KERNEL][1]
    assert second.process.wait(timeout=300) == 0
    said = (second.working / "log.txt").read_text()
    assert f"goes on with the run attached in {second.folder / 'input/notebooks' / KERNEL}" in said
    assert "compact_cnn: finished before" in said and "simple_cnn_v2: goes on after epoch" in said
    assert check_submission(second.working / "submission.csv", 80).rows == 80
