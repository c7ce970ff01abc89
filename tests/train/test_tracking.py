"""The log in its file and on the terminal, the line of an epoch, the progress bar, history.csv."""

import io
import sys
from pathlib import Path

import pandas as pd
import pytest

from src.train.tracking import PERCENT, Log, epoch_line, progress_bar, write_history

ROW = {
    "epoch": 3,
    "lr": 0.00126,
    "train_loss": 1.23456789,
    "train_accuracy": 0.5,
    "valid_loss": 1.5,
    "valid_accuracy": 0.4375,
    "valid_f1": 1 / 3,
    "seconds": 12.25,
}


def test_a_line_is_printed_and_stands_in_the_file_at_once(tmp_path, capsys):
    log = Log(tmp_path / "log.txt")
    log("first ± ü")
    log()
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "first ± ü\n\n"
    assert capsys.readouterr().out == "first ± ü\n\n"
    log.close()


def test_a_run_that_goes_on_appends_to_its_log(tmp_path):
    for line in ("one", "two"):
        log = Log(tmp_path / "log.txt")
        log(line)
        log.close()
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("broken", [BrokenPipeError, ValueError])
def test_a_terminal_that_has_gone_costs_nothing_of_the_log(tmp_path, monkeypatch, broken):
    class Gone(io.StringIO):
        def write(self, text):
            raise broken

    monkeypatch.setattr(sys, "stdout", Gone())
    log = Log(tmp_path / "log.txt")
    log("one")
    log.close()
    assert (tmp_path / "log.txt").read_text() == "one\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_costs_the_line_and_not_the_run(capsys):
    log = Log(Path("/dev/full"))
    log("one")
    log.close()
    assert capsys.readouterr().out == "one\n"


def test_without_a_terminal_there_is_no_progress_bar(capsys):
    assert list(progress_bar(iter("abc"), 3, "title")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_an_epochs_line_holds_its_figures():
    line = epoch_line(ROW, 20, is_best=False)
    for part in ("3/20", "1.3e-03", "train 1.2346  50.00 %", "valid 1.5000  43.75 %", "F1 33.33 %", "12.2 s"):
        assert part in line
    assert "\n" not in line and epoch_line(ROW, 20, is_best=True) == line + "  best"


def test_history_is_read_back_to_six_digits_in_its_own_order(tmp_path):
    rows = [ROW, ROW | {"epoch": 4, "lr": 1.23456789e-9, "valid_loss": 123456.789}]
    write_history(tmp_path / "history.csv", rows)
    read = pd.read_csv(tmp_path / "history.csv")
    assert list(read.columns) == [PERCENT.get(name, name) for name in ROW] and read["epoch"].tolist() == [3, 4]
    for row, (_, back) in zip(rows, read.iterrows(), strict=True):
        expected = {PERCENT.get(name, name): value * (100 if name in PERCENT else 1) for name, value in row.items()}
        assert back.to_dict() == pytest.approx(expected, rel=5e-6)


def test_accuracies_are_per_cent_in_the_log_and_in_the_history(tmp_path):
    rows = [ROW]
    write_history(tmp_path / "history.csv", rows)
    written = pd.read_csv(tmp_path / "history.csv").iloc[0]
    figures = [written[name] for name in ("train_accuracy_percent", "valid_accuracy_percent", "valid_f1_percent")]
    assert figures == [50, 43.75, 33.3333]
    assert all(f"{figure:.2f} %" in epoch_line(ROW, 20, is_best=False) for figure in figures)
    assert rows == [ROW]  # a checkpoint holds them as they were
