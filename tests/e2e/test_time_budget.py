"""A run against its deadline, with a clock that runs as fast as the test needs it: an epoch takes ten minutes."""

import json
import shutil
from pathlib import Path

import pytest

from src.errors import UserError
from src.run.record import RunRecord
from src.submit.check import check_submission
from src.train.budget import TimeEstimate
from src.train.trainer import Trainer
from tests.support.small_runs import MEMBERS, read_log, train, train_killed

pytestmark = pytest.mark.usefixtures("narrow_networks")

SETTINGS = ("epochs=6", "batch_size=64")
EPOCH, PREDICT = 600.0, 60.0


class Clock:
    """Seconds since the start of the run. `step` is what a step really takes, whatever the estimate says."""

    now, step = 0.0, EPOCH / 2  # 120 rows to train on are two batches

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Time for the budget, which steps move."""
    clock, epoch, step = Clock(), Trainer.epoch, Trainer.step

    def slow_step(trainer, x, y):
        clock.now += clock.step
        return step(trainer, x, y)

    def slow_epoch(trainer, number, on_batch_end):
        started = clock.now
        row = epoch(trainer, number, on_batch_end)
        return row | {"seconds": clock.now - started}

    monkeypatch.setattr(Trainer, "step", slow_step)
    monkeypatch.setattr(Trainer, "epoch", slow_epoch)
    monkeypatch.setattr("src.run.estimate.estimate_member", lambda *_: TimeEstimate(EPOCH, PREDICT))
    return clock


def budget(faces: Path, output: Path, clock: Clock, hours: float, *settings: str) -> RunRecord:
    """A run that begins at 0 on the clock and has so many hours."""
    clock.now = 0.0
    return train(faces, output, *SETTINGS, *settings, f"time_budget_hours={hours}", clock=clock, started=0.0)


def epochs(record: RunRecord) -> list[int]:
    return [result.epochs for result in record.members.values()]


def test_with_too_little_all_are_shortened_and_end_in_time(faces, tmp_path, clock):
    record = budget(faces, tmp_path, clock, 1.3)
    assert epochs(record)[0] == 3 and epochs(record)[1] in (3, 4) and not record.skipped
    assert clock.now + PREDICT <= 1.3 * 3600
    assert read_log(tmp_path).count(" epochs instead of 6, to end in time") == 2 and "epoch 3/3" in read_log(tmp_path)
    assert check_submission(tmp_path / "submission.csv", 80).rows == 80
    assert [estimate.epochs for estimate in record.estimate.values()] == [3, 3]
    # The shortened cycle comes to its end: the last epoch begins far below the peak of 3e-3.
    last = next(line for line in read_log(tmp_path).splitlines() if "epoch 3/" in line)
    assert float(last.split("lr ")[1].split()[0]) < 1.2e-3


def test_with_far_too_little_the_last_is_skipped_and_it_is_said(faces, tmp_path, clock):
    record = budget(faces, tmp_path, clock, 0.6)
    assert list(record.members) == ["compact_cnn"] and list(record.skipped) == ["simple_cnn_v2"]
    assert "without simple_cnn_v2" in read_log(tmp_path) and record.status == "finished"
    assert clock.now <= 0.6 * 3600
    assert check_submission(tmp_path / "submission.csv", 80).rows == 80
    assert json.loads((tmp_path / "run.json").read_text())["estimate"]["simple_cnn_v2"]["epochs"] == 0
    record = budget(faces, tmp_path, clock, 3)  # the same run again, with more time
    assert list(record.members) == list(MEMBERS) and not record.skipped


def test_without_time_for_one_epoch_there_is_no_submission_and_the_error_says_why(faces, tmp_path, clock):
    with pytest.raises(UserError, match=r"no member has finished.*compact_cnn"):
        budget(faces, tmp_path, clock, 0.1)
    assert clock.now == 0


def test_an_epoch_that_takes_longer_than_planned_shortens_what_is_left(faces, tmp_path, clock):
    clock.step = EPOCH  # twice what the warm-up said
    record = budget(faces, tmp_path, clock, 2.2)
    assert record.members["compact_cnn"].epochs < 6
    assert clock.now <= 2.2 * 3600
    assert check_submission(tmp_path / "submission.csv", 80).rows == 80


def test_time_that_is_up_within_an_epoch_ends_the_member_with_its_best(faces, tmp_path, clock):
    """The plan believes in minutes; each step takes hours. One epoch passes, the second is not waited for."""
    clock.step = 2 * 3600
    record = budget(faces, tmp_path, clock, 5, "simple_cnn_v2.epochs=1")
    assert record.members["compact_cnn"].epochs == 1
    assert clock.now <= 7 * 3600
    assert check_submission(tmp_path / "submission.csv", 80).rows == 80


def test_the_first_member_is_not_given_up_for_the_others(faces, tmp_path, clock):
    """Planned are two epochs of ten minutes in 27; the first takes 20, and the second member's time with it."""
    clock.step = EPOCH
    record = budget(faces, tmp_path, clock, 0.45, "epochs=1")
    assert list(record.members) == ["compact_cnn"] and list(record.skipped) == ["simple_cnn_v2"]
    assert check_submission(tmp_path / "submission.csv", 80).rows == 80


def test_a_member_that_continues_is_planned_with_what_it_still_needs(faces, tmp_path, clock):
    """Killed after five of six epochs: without time for an epoch it predicts with its best; 81 minutes are enough for
    the sixth and for all of the other member's."""
    settings, options = (*SETTINGS, "time_budget_hours=3"), {"clock": clock, "started": 0.0, "checkpoint_seconds": 0.0}
    train_killed(lambda trainer, state: state.epochs == 5, faces, tmp_path / "short", *settings, **options)
    shutil.copytree(tmp_path / "short", tmp_path / "enough")
    record = budget(faces, tmp_path / "short", clock, 0.1)
    assert record.members["compact_cnn"].epochs == 5 and list(record.skipped) == ["simple_cnn_v2"]
    assert check_submission(tmp_path / "short" / "submission.csv", 80).rows == 80
    record = budget(faces, tmp_path / "enough", clock, 1.35)
    assert epochs(record) == [6, 6] and "instead of" not in read_log(tmp_path / "enough") and clock.now <= 1.35 * 3600
