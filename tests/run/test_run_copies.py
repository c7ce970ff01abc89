"""What a run and a blend make of test images that are also in train.csv, exactly and nearly."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from src.data.competition import Competition, read_competition
from src.ensemble import near_copies
from src.ensemble.labelled_copies import count_labels, label_copies, label_near_copies
from src.ensemble.near_copies import NearCopies
from src.ensemble.near_copies_file import read_near_copies, write_near_copies
from src.ensemble.predictions import Predictions, load_predictions
from src.main import main
from src.run import copies
from src.run.copies import NEAR, NO_NEAR_COPIES, copies_lines, near_copies_of_run, search, with_copies
from src.run.run_folder import RunFolder
from src.submit.check import check_submission
from tests.conftest import fake_bundle
from tests.support.small_runs import run_command

CPU = torch.device("cpu")
PLANTED = NearCopies(np.repeat([1, 4, 9], 3), np.arange(9), np.full(9, 0.95, np.float32))


@pytest.fixture
def searches(monkeypatch) -> list:
    """Counts the searches for near copies, each of which finds those planted."""
    done = []

    def find(train, test, device, on_part):
        done.append((len(train), len(test)))
        assert device.type == "cpu"
        return PLANTED

    monkeypatch.setattr(copies, "find_near_copies", find)
    return done


def shifted(data: Competition, row: int) -> Competition:
    """The data with the last test image that has no copy in train.csv replaced by a shifted training image."""
    test = data.test.images.copy()
    test[-1] = np.roll(data.train.images[row], (2, -3), (0, 1))
    return replace(data, test=replace(data.test, images=test))


def test_images_without_an_exact_copy_are_searched_among_the_rows_that_may_be_used(faces):
    data, lines = shifted(read_competition(faces), 100), []
    found = search(data, CPU, lines.append)
    assert (len(data.test) - 1, 100) in set(zip(found.test_rows.tolist(), found.train_rows.tolist(), strict=True))
    exact = np.flatnonzero(count_labels(data.train.images, data.train.labels, data.test.images).any(1))
    assert len(exact) and not np.isin(found.test_rows, exact).any()
    assert f"comparing {80 - len(exact)} test images with 300 training images" in lines[0]
    images = len(np.unique(found.test_rows))
    assert lines[1].startswith(f"near copies: {images} test images have {len(found.test_rows)} in the training data")
    assert not np.isin(search(data, CPU, print, rows=100).train_rows, 100).any()


def test_a_signal_ends_the_search_and_the_next_start_searches_again(faces, tmp_path, monkeypatch):
    command, folder = [f"copies={NEAR}", "max_train_rows=150"], RunFolder(tmp_path)

    def stopped(middles, places, on_part):
        os.kill(os.getpid(), signal.SIGTERM)
        on_part()
        raise AssertionError("the search went on")

    with monkeypatch.context() as patch:
        patch.setattr(near_copies, "candidates", stopped)
        assert run_command(faces, tmp_path, "--set", "epochs=1", *command) == 143
    assert folder.read_record().status == "interrupted" and not folder.near_copies.exists()
    assert run_command(faces, tmp_path, "--set", "epochs=1", *command) == 0 and folder.near_copies.exists()


def test_a_device_without_float64_leaves_the_search_to_the_cpu(faces, searches):
    search(read_competition(faces), torch.device("mps"), print)
    assert searches


def test_another_rank_waits_for_what_the_first_one_finds(faces, tmp_path, searches, monkeypatch):
    waited, folder = [], RunFolder(tmp_path)

    def check() -> None:
        waited.append(True)
        if len(waited) == 2:
            write_near_copies(folder.near_copies, PLANTED)

    monkeypatch.setattr(copies.time, "sleep", lambda seconds: None)
    context = SimpleNamespace(
        data=read_competition(faces), folder=folder, recipe=SimpleNamespace(copies=NEAR),
        process=SimpleNamespace(rank=1), signals=SimpleNamespace(check=check),
    )  # fmt: skip
    found = near_copies_of_run(context)
    assert len(waited) == 2 and not searches
    assert np.array_equal(found.test_rows, PLANTED.test_rows)


def test_a_blend_into_another_runs_folder_is_refused_before_the_search(faces, tmp_path, searches):
    assert run_command(faces, tmp_path / "run") == 0
    command = ["ensemble", str(tmp_path / "run"), "--input", str(faces), "--output", str(tmp_path / "run")]
    assert main([*command, "--copies", NEAR], fake_bundle()) == 2 and not searches


def test_too_many_images_are_not_compared(faces, monkeypatch, searches):
    monkeypatch.setattr(copies, "MAX_COMPARISONS", 20_000)
    lines = []
    assert search(read_competition(faces), CPU, lines.append) is NO_NEAR_COPIES and not searches
    assert len(lines) == 1 and "too many to compare" in lines[0]


def test_exact_copies_overrule_near_ones_which_overrule_predictions(faces):
    data = read_competition(faces)
    exact = np.flatnonzero(count_labels(data.train.images, data.train.labels, data.test.images).any(1))
    other = np.setdiff1d(np.arange(80), exact)[0]
    probs = np.full((80, 7), 1 / 7, np.float32)
    before = Predictions({}, np.arange(0), probs[:0], probs)
    near = NearCopies(np.array([exact[0], other]), np.array([0, 1]), np.ones(2, np.float32))
    labels = data.train.labels.copy()
    labels[0] = (label_copies(before, data)[0].test[exact[0]].argmax() + 1) % 7  # not that of the exact copy
    data = replace(data, train=replace(data.train, labels=labels))
    after, *counts = with_copies(before, data, NEAR, near)
    assert counts == [len(exact), 2] and after.test[other].argmax() == labels[1]
    assert after.test[exact[0]].argmax() == label_copies(before, data)[0].test[exact[0]].argmax() != labels[0]
    assert with_copies(before, data, "predicted", near) == (before, 0, 0)


def test_a_run_searches_once_and_submits_what_near_copies_say(faces, tmp_path, searches):
    command = ["--set", "epochs=1", "max_train_rows=150", f"copies={NEAR}"]
    assert run_command(faces, tmp_path, *command) == 0
    folder, data = RunFolder(tmp_path), read_competition(faces)
    found = read_near_copies(folder.near_copies, 300, 80)
    record = folder.read_record()
    assert len(searches) == 1 and searches[0][0] == 150 and "near_copies.csv" in record.files
    assert record.ensemble.copies == NEAR and record.ensemble.near_copies == 3
    members = [load_predictions(folder.predictions(name)) for name in record.ensemble.members]
    probs = np.mean([member.test for member in members], 0)
    expected, _ = label_near_copies(Predictions({}, np.arange(0), probs[:0], probs), data.train.labels, found)
    expected, _ = label_copies(expected, data, 150)
    np.testing.assert_array_equal(check_submission(folder.submission, 80).labels, expected.test.argmax(1))
    assert "3 of 80 test images nearly copy training images" in " ".join(folder.log_file.read_text().split())


def test_a_damaged_list_of_near_copies_is_made_again(faces, tmp_path, searches):
    command, folder = ["--set", "epochs=1", "max_train_rows=150", f"copies={NEAR}"], RunFolder(tmp_path)
    for count, content in ((1, None), (1, None), (2, "damaged"), (3, "test_row,train_row,correlation\n80,1,1\n")):
        if content:
            folder.near_copies.write_text(content)
        assert run_command(faces, tmp_path, *command) == 0 and len(searches) == count
    assert folder.log_file.read_text().count("near copies are searched again") == 2
    assert read_near_copies(folder.near_copies, 300, 80).train_rows.tolist() == PLANTED.train_rows.tolist()


def test_a_blend_of_finished_runs_does_so_too(faces, tmp_path, searches, capsys):
    run, out = tmp_path / "run", RunFolder(tmp_path / "blend")
    assert run_command(faces, run) == 0
    assert RunFolder(run).read_record().ensemble.copies == "predicted" and not RunFolder(run).near_copies.exists()
    command = ["ensemble", str(run), "--input", str(faces), "--output", str(out.path)]
    assert main([*command, "--copies", NEAR], fake_bundle()) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 of 80 test images nearly copy training images" in said and len(searches) == 1
    found, data = read_near_copies(out.near_copies, 300, 80), read_competition(faces)
    blended = load_predictions(out.predictions("blend"))
    expected, _ = label_copies(label_near_copies(blended, data.train.labels, found)[0], data)
    np.testing.assert_array_equal(check_submission(out.submission, 80).labels, expected.test.argmax(1))
    assert "For 3 more, near copies of training images" in (out.path / "report.html").read_text("utf-8")


def test_only_copies_that_there_are_have_a_line():
    assert copies_lines(0, 0, 80) == []
    assert len(copies_lines(1, 0, 80)) == len(copies_lines(0, 1, 80)) == 1 and len(copies_lines(1, 1, 80)) == 2


def test_in_the_real_files_near_copies_have_the_label_more_often_than_a_network_is_right(real_files: Path):
    """The reason for the vote, from train.csv alone: the first 500 rows against the others."""
    train = read_competition(real_files).train
    data = Competition(
        replace(train, images=train.images[500:], labels=train.labels[500:]),
        replace(train, images=train.images[:500], labels=None),
        (), None, "x", (),
    )  # fmt: skip
    found = search(data, CPU, print)
    agree = train.labels[found.test_rows] == train.labels[500 + found.train_rows]
    assert len(np.unique(found.test_rows)) > 80 and 0.77 < agree.mean() < 0.9
