"""A member that fails does not take the others with it."""

import json
import math

import pytest

from src.main import main
from src.submit import check
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
    command = ["run", "--recipe", "quick", "--set", "epochs=1", "rows=150", *settings, "--device", "cpu"]
    return main([*command, "--input", str(faces), "--output", str(output)], fake_bundle())


def test_a_member_that_diverges_is_given_up_and_the_others_are_submitted(faces, tmp_path, diverging, capsys):
    assert start(faces, tmp_path) == 1
    record = json.loads((tmp_path / "run.json").read_text())
    assert list(record["members"]) == ["simple_cnn_v2"] and "diverges" in record["missing"]["compact_cnn"]
    assert record["status"] == "finished" and not record["left_out"]
    said = capsys.readouterr().out
    assert said.count("half the learning rate") == 3 and "goes on without compact_cnn" in said
    assert check.check(tmp_path / "submission.csv", 80).rows == 80


def test_a_run_whose_only_member_diverges_has_no_submission_and_says_why(faces, tmp_path, monkeypatch, capsys):
    epoch = Trainer.epoch
    monkeypatch.setattr(Trainer, "epoch", lambda *a: epoch(*a) | {"valid_loss": math.inf})
    assert start(faces, tmp_path) == 2
    said = capsys.readouterr().err
    assert "no member has finished" in said and "--set simple_cnn_v2.lr=" in said
    assert not (tmp_path / "submission.csv").exists()
