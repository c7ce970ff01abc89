"""A member that fails does not take the others with it."""

import json
import math

import pytest
import torch

from src.main import main
from src.submit.check import check_submission
from src.train.trainer import Trainer
from tests.conftest import fake_bundle
from tests.support.small_runs import run_command, train, train_killed, weights

pytestmark = pytest.mark.usefixtures("narrow_networks")


def assert_that_the_other_is_submitted(output, reason: str) -> None:
    record = json.loads((output / "run.json").read_text())
    assert list(record["members"]) == ["simple_cnn_v2"] and reason in record["failed"]["compact_cnn"]
    assert record["status"] == "finished" and not record["skipped"]
    assert check_submission(output / "submission.csv", 80).rows == 80


def test_a_member_that_diverges_is_given_up_and_the_others_are_submitted(faces, tmp_path, monkeypatch, capsys):
    epoch = Trainer.epoch

    def ill(trainer, number, on_batch_end):
        row = epoch(trainer, number, on_batch_end)
        return row | {"train_loss": math.nan} if trainer.member.name == "compact_cnn" else row

    monkeypatch.setattr(Trainer, "epoch", ill)
    assert run_command(faces, tmp_path) == 1
    assert_that_the_other_is_submitted(tmp_path, "diverges")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("half the learning rate") == 3 and said.count("set its lr to") == 1
    assert "continues without compact_cnn" in said


def test_the_reason_of_a_run_of_one_member_is_said_once(faces, tmp_path, monkeypatch, capsys):
    epoch = Trainer.epoch
    monkeypatch.setattr(Trainer, "epoch", lambda *a: epoch(*a) | {"valid_loss": math.inf})
    command = ["run", "--recipe", "simple_cnn_v2", "--set", "epochs=1", "max_train_rows=100", "--device", "cpu"]
    assert main([*command, "--input", str(faces), "--output", str(tmp_path)], fake_bundle()) == 2
    out, err = capsys.readouterr()
    assert (out + err).count("set its lr to") == err.count("simple_cnn_v2: diverges") == 1
    assert err.startswith("error: no member has finished") and "failed: " not in out
    log = (tmp_path / "log.txt").read_text()
    assert "failed: no member" in log and "continues without simple_cnn_v2" in log


def test_a_run_whose_only_member_diverges_has_no_submission_and_says_why(faces, tmp_path, monkeypatch, capsys):
    epoch = Trainer.epoch
    monkeypatch.setattr(Trainer, "epoch", lambda *a: epoch(*a) | {"valid_loss": math.inf})
    assert run_command(faces, tmp_path) == 2
    said = capsys.readouterr().err
    assert "no member has finished" in said and "set its lr to" in said
    assert not (tmp_path / "submission.csv").exists()


def test_a_member_that_does_not_fit_into_memory_is_left_and_the_others_are_submitted(faces, tmp_path, monkeypatch):
    """It is found by the warm-up, before anything trains."""
    gradient = Trainer.gradient

    def greedy(trainer, x, y):
        if trainer.member.name == "compact_cnn":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradient(trainer, x, y)

    monkeypatch.setattr(Trainer, "gradient", greedy)
    assert run_command(faces, tmp_path) == 1
    assert_that_the_other_is_submitted(tmp_path, "memory")


def test_a_run_killed_in_an_epoch_that_went_wrong_ends_as_one_that_was_not(faces, tmp_path, monkeypatch):
    """Its newest checkpoint holds a loss that is no number; the training still goes back to the epoch's end."""
    step, mark = Trainer.step, tmp_path / "mark"

    def poisoned(trainer, x, y):
        loss, hits = step(trainer, x, y)
        here = trainer.member.name == "compact_cnn" and trainer.epoch_state and trainer.schedule.by_step.last_epoch == 6
        if here and not mark.exists():  # once, in a step of the second epoch
            mark.touch()
            loss = loss * math.nan
        return loss, hits

    def when(trainer, state) -> bool:
        return mark.exists() and trainer.epoch_state and trainer.epoch_state.sums.isnan().any()

    monkeypatch.setattr(Trainer, "step", poisoned)
    options = {"checkpoint_seconds": 0.0}
    whole = train(faces, tmp_path / "whole", "epochs=3", **options)
    mark.unlink()
    train_killed(when, faces, tmp_path / "broken", "epochs=3", **options)
    broken = train(faces, tmp_path / "broken", "epochs=3", **options)
    assert [record.members["compact_cnn"].rollbacks for record in (whole, broken)] == [1, 1]
    assert weights(tmp_path / "whole") == weights(tmp_path / "broken")
