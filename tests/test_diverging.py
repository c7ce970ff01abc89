"""A member that fails does not take the others with it."""

import json
import math

import pytest
import torch

from src.main import main
from src.submit.check import check_submission
from src.train import guard
from src.train.guard import Guard
from src.train.trainer import Trainer
from tests.conftest import fake_bundle


@pytest.fixture
def diverging(monkeypatch):
    """compact_cnn never has a finite loss."""
    epoch = Trainer.epoch

    def ill(trainer, number, between):
        row = epoch(trainer, number, between)
        return row | {"train_loss": math.nan} if trainer.member.name == "compact_cnn" else row

    monkeypatch.setattr(Trainer, "epoch", ill)


def start(faces, output, *settings: str) -> int:
    command = ["run", "--recipe", "quick", "--set", "epochs=1", "max_train_rows=150", *settings, "--device", "cpu"]
    return main([*command, "--input", str(faces), "--output", str(output)], fake_bundle())


def test_a_member_that_diverges_is_given_up_and_the_others_are_submitted(faces, tmp_path, diverging, capsys):
    assert start(faces, tmp_path) == 1
    record = json.loads((tmp_path / "run.json").read_text())
    assert list(record["members"]) == ["simple_cnn_v2"] and "diverges" in record["missing"]["compact_cnn"]
    assert record["status"] == "finished" and not record["left_out"]
    said = capsys.readouterr().out
    assert said.count("half the learning rate") == 3 and "goes on without compact_cnn" in said
    assert check_submission(tmp_path / "submission.csv", 80).rows == 80


def test_a_run_whose_only_member_diverges_has_no_submission_and_says_why(faces, tmp_path, monkeypatch, capsys):
    epoch = Trainer.epoch
    monkeypatch.setattr(Trainer, "epoch", lambda *a: epoch(*a) | {"valid_loss": math.inf})
    assert start(faces, tmp_path) == 2
    said = capsys.readouterr().err
    assert "no member has finished" in said and "--set simple_cnn_v2.lr=" in said
    assert not (tmp_path / "submission.csv").exists()


def test_a_member_that_does_not_fit_into_memory_is_left_and_the_others_are_submitted(faces, tmp_path, monkeypatch):
    """It is found by the warm-up, before anything trains."""
    gradient = Trainer.gradient

    def greedy(trainer, x, y):
        if trainer.member.name == "compact_cnn":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradient(trainer, x, y)

    monkeypatch.setattr(Trainer, "gradient", greedy)
    assert start(faces, tmp_path) == 1
    record = json.loads((tmp_path / "run.json").read_text())
    assert list(record["members"]) == ["simple_cnn_v2"] and "memory" in record["missing"]["compact_cnn"]
    assert check_submission(tmp_path / "submission.csv", 80).rows == 80


class Killed(BaseException):
    """As if the process had gone."""


def poisoned(monkeypatch, output, kill: bool) -> None:
    """The first training of compact_cnn's second epoch meets a loss that is not finite; killed there, if so told."""
    step, done, mark = Trainer.step, [], output.parent / "poisoned"

    def poison(trainer, x, y):
        loss, hits = step(trainer, x, y)
        done.append(trainer)
        here = trainer.member.name == "compact_cnn" and trainer.half and trainer.schedule.by_step.last_epoch == 6
        if here and not mark.exists():
            mark.touch()
            loss = loss * math.nan
        return loss, hits

    between = Guard.between

    def killed(self, trainer, course):
        between(self, trainer, course)
        if kill and mark.exists() and trainer.half and trainer.half.sums.isnan().any():
            self.keeper.join()
            raise Killed

    monkeypatch.setattr(Trainer, "step", poison)
    monkeypatch.setattr(Guard, "between", killed)
    monkeypatch.setattr(guard, "EVERY", 0.0)


def test_a_run_killed_in_an_epoch_that_went_wrong_ends_as_one_that_was_not(faces, tmp_path, monkeypatch):
    """Its newest checkpoint holds a loss that is no number; the strike still goes back to the epoch's end."""
    for name, kill in (("whole", False), ("broken", True)):
        output = tmp_path / name / "out"
        output.parent.mkdir()
        with monkeypatch.context() as patch:
            poisoned(patch, output, kill)
            if kill:
                with pytest.raises(Killed):
                    start(faces, output, "epochs=3")
        assert kill is False or start(faces, output, "epochs=3") == 0
        if not kill:
            with monkeypatch.context() as patch:
                poisoned(patch, output, kill)
                assert start(faces, output, "epochs=3") == 0
    records = [json.loads((tmp_path / name / "out" / "run.json").read_text()) for name in ("whole", "broken")]
    assert [r["members"]["compact_cnn"]["strikes"] for r in records] == [1, 1]
    weights = [(tmp_path / n / "out/members/compact_cnn/model.safetensors").read_bytes() for n in ("whole", "broken")]
    assert weights[0] == weights[1]
