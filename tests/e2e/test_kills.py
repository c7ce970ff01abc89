"""A run that is killed continues, and ends as if it had never stopped: to the bit, and never without a submission."""

import json

import pytest

from src.train.callbacks import TrainingCallbacks
from tests.support.kills import content, measure, train_quietly, write_faces

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_that_is_killed_at_random_moments_ends_to_the_bit_as_one_that_is_not():
    tally = measure(kills=8, kills_per_run=4, seed=7)
    assert tally.kills == 8 and tally.runs >= 2
    assert not tally.failed and not tally.without_submission and not tally.different


def test_a_run_that_is_killed_between_run_json_and_checkpoint_has_lost_no_epoch(tmp_path, monkeypatch):
    """run.json then knows of an epoch that the checkpoint has not: its last one is of the step before."""
    source, real = write_faces(tmp_path / "faces"), TrainingCallbacks.on_epoch_end
    train_quietly(source, tmp_path / "whole")

    def killed(self, trainer, state):
        real(self, trainer, state)
        self.checkpoints.join()
        if state.epochs == 2:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallbacks, "on_epoch_end", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train_quietly(source, tmp_path / "broken")
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["progress"]["compact_cnn"]["epochs"] == 2
    train_quietly(source, tmp_path / "broken")
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
