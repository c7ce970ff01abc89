"""The log in its file and on the terminal, the line of an epoch, the progress bar, history.csv."""

import io
import re
import sys
from itertools import product
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


TIME = r"(?m)^[0-2]\d:[0-5]\d:[0-5]\d "


def lines_of(path: Path) -> str:
    """log.txt, whose lines all begin with the time of day, without it."""
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(TIME, text)) == len(text.splitlines())
    return re.sub(TIME, "", text)


def test_a_line_is_printed_and_stands_in_the_file_at_once_with_its_time(tmp_path, capsys):
    log = Log(tmp_path / "log.txt")
    log("first ± ü")
    log()
    assert lines_of(tmp_path / "log.txt") == "first ± ü\n\n"
    assert capsys.readouterr().out == "first ± ü\n\n"
    log.close()


@pytest.mark.parametrize("prefix", ["", "[3] "])
def test_a_long_message_is_wrapped_on_the_terminal_and_whole_in_the_file(tmp_path, capsys, prefix):
    message = "warning: " + "seven of these words would fill one line " * 5 + "/a/path" * 20
    log = Log(tmp_path / "log.txt", prefix)
    log(message)
    log.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and max(map(len, lines[:-1])) <= 79 and all(line.startswith(prefix) for line in lines)
    assert lines[-1] == f"{prefix}    {'/a/path' * 20}"  # never cut
    assert " ".join(line.removeprefix(prefix).strip() for line in lines) == message
    assert lines_of(tmp_path / "log.txt") == f"{prefix}{message}\n"


def test_what_the_terminal_gets_in_another_way_is_in_the_file_alone(tmp_path, capsys):
    log = Log(tmp_path / "log.txt")
    log.to_file("failed: why")
    log.close()
    assert lines_of(tmp_path / "log.txt") == "failed: why\n" and capsys.readouterr() == ("", "")


def test_a_run_that_continues_appends_to_its_log(tmp_path):
    for line in ("one", "two"):
        log = Log(tmp_path / "log.txt")
        log(line)
        log.close()
    assert lines_of(tmp_path / "log.txt") == "one\ntwo\n"


@pytest.mark.parametrize("broken", [BrokenPipeError, ValueError, None])
def test_a_terminal_that_has_gone_costs_nothing_of_the_log(tmp_path, monkeypatch, broken):
    class Gone(io.StringIO):
        def write(self, text):
            raise broken

    monkeypatch.setattr(sys, "stdout", broken and Gone())
    log = Log(tmp_path / "log.txt")
    log("one")
    log.close()
    assert lines_of(tmp_path / "log.txt") == "one\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_costs_the_line_and_not_the_run(capsys):
    log = Log(Path("/dev/full"))
    log("one")
    log.close()
    assert capsys.readouterr().out == "one\n"


def test_without_a_terminal_there_is_no_progress_bar(capsys, monkeypatch):
    assert list(progress_bar(iter("abc"), 3, "title")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", None)  # closed before the start
    assert list(progress_bar(iter("abc"), 3, "title")) == ["a", "b", "c"]


def test_an_epochs_line_holds_its_figures():
    line = epoch_line(ROW, 20, is_best=False)
    for part in ("3/20", "lr 1.3e-3", "train 1.235 50.0%", "valid 1.500 43.75%", "F1 33.3%", "12.2 s"):
        assert part in line
    assert "\n" not in line and epoch_line(ROW, 20, is_best=True) == line + " best"


@pytest.mark.parametrize("epochs", [1, 20, 300, 9999])
def test_epochs_lines_fit_79_columns_and_those_of_one_training_are_aligned(epochs):
    places = set()
    figures = product((0.0, 0.05, 0.43759, 0.99996, 1.0), (0.0, 9.99951, 12.3456, 1234.5), (0.04, 9.96, 99.96, 1234.5))
    for share, loss, seconds in figures:
        shares = dict.fromkeys(("train_accuracy", "valid_accuracy", "valid_f1"), share)
        row = ROW | shares | {"epoch": epochs, "train_loss": loss, "valid_loss": loss, "seconds": seconds}
        line = epoch_line(row, epochs, is_best=True)
        assert len(line) <= 79 and line.endswith(" best") and epoch_line(row, epochs, False) == line[:-5]
        assert epochs > 99 or line.startswith("epoch ")
        narrow = epoch_line(row, epochs, True, columns=75)  # as after "[0] "
        assert len(narrow) <= 75 + 2 * (epochs > 999) and line.endswith(narrow)
        places.add(tuple(at for at, sign in enumerate(line) if sign == "%"))
    assert len(places) == 1


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
    assert all(re.search(rf" {int(figure)}\.\d+%", epoch_line(ROW, 20, is_best=False)) for figure in figures)
    assert rows == [ROW]  # a checkpoint holds them as they were
