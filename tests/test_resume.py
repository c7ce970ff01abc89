"""A run that is killed goes on, and ends as if it had never stopped: to the bit, and never without a submission."""

import json

import pytest

from benchmarks.kills import content, faces, measure, train
from src.train.guard import Guard

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_that_is_killed_at_random_moments_ends_to_the_bit_as_one_that_is_not():
    tally = measure(kills=12, a_run=4, seed=7)
    assert tally.kills == 12 and tally.runs >= 3
    assert not tally.failed and not tally.without_submission and not tally.different


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_that_is_killed_between_run_json_and_checkpoint_has_lost_no_epoch(tmp_path, monkeypatch, epoch):
    """run.json then knows of an epoch that the checkpoint has not: its last one is of the step before."""
    source, real = faces(tmp_path / "faces"), Guard.after
    train(source, tmp_path / "whole")

    def killed(self, trainer, course):
        real(self, trainer, course)
        self.keeper.join()
        if len(course.history) == epoch:
            raise RuntimeError("killed")

    monkeypatch.setattr(Guard, "after", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(source, tmp_path / "broken")
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["progress"]["compact_cnn"]["epochs"] == epoch
    monkeypatch.setattr(Guard, "after", real)
    train(source, tmp_path / "broken")
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert "shortened" not in (tmp_path / "broken" / "log.txt").read_text()
