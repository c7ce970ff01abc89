"""A run, called as the command line calls it: what it leaves, repeats, continues and refuses; it sees no test label."""

import io
import json
import os
import shutil
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from src.data import competition, synthetic
from src.ensemble.predictions import Predictions, load_predictions
from src.main import main
from src.run.run_folder import RunFolder
from src.submit.check import check_submission
from src.train.signals import Stopped
from tests.conftest import fake_bundle
from tests.support.small_runs import run_command
from tests.support.terminal import too_wide

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture(scope="module")
def done(faces, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("run") / "out"
    assert run_command(faces, output) == 0
    return output


@pytest.fixture(scope="module")
def other(faces, tmp_path_factory) -> Path:
    """The same run with another seed."""
    output = tmp_path_factory.mktemp("other") / "out"
    assert run_command(faces, output, "--seed", "1") == 0
    return output


def arrays(run: Path, member: str = "simple_cnn_v2") -> Predictions:
    return load_predictions(run / "predictions" / f"{member}.npz")


def test_a_run_leaves_all_its_files_and_nothing_half_written(done):
    files = {str(f.relative_to(done)) for f in done.rglob("*") if f.is_file()}
    members = ("compact_cnn", "simple_cnn_v2")
    inside = {f"members/{m}/{name}" for m in members for name in ("result.json", "history.csv", "model.safetensors")}
    assert files == {"submission.csv", "run.json", "log.txt", *(f"predictions/{m}.npz" for m in members), *inside}


def test_the_submission_is_the_most_probable_class_of_the_mean_of_those_that_validate_best(done, faces):
    labels = competition.read_competition(faces).train.labels
    means = {}
    for members in (["compact_cnn"], ["compact_cnn", "simple_cnn_v2"]):
        found = [arrays(done, name) for name in members]
        valid, test = (np.mean([getattr(one, part) for one in found], axis=0) for part in ("valid", "test"))
        means[(valid.argmax(1) == labels[found[0].valid_rows]).mean(), len(members)] = members, test
    members, probs = means[max(means)]
    assert json.loads((done / "run.json").read_text())["ensemble"]["members"] == members
    assert np.array_equal(check_submission(done / "submission.csv", 80).labels, probs.argmax(1))
    assert check_submission(done / "submission.csv", 80, faces / "example_submission.csv").rows == 80


def test_run_json_says_what_ran_and_agrees_with_the_predictions(done, faces):
    record, data = json.loads((done / "run.json").read_text()), competition.read_competition(faces)
    assert record["status"] == "finished"
    assert record["code"] == {"digest": "0" * 16, "commit": "abc1234", "dirty": False}
    assert record["data_digest"] == data.digest
    assert [m["epochs"] for m in record["recipe"]["members"]] == [1, 1]
    assert sum(record["rows"].values()) == 150 + 80 and record["rows"]["test"] == 80
    for name, member in record["members"].items():
        found = arrays(done, name)
        right = found.valid.argmax(1) == data.train.labels[found.valid_rows]
        assert member["valid_accuracy"] == pytest.approx(right.mean())
        assert {"recipe": "quick", "member": name, "seed": 0, "fold": 0}.items() <= found.header.items()
        history = pd.read_csv(done / "members" / name / "history.csv")
        assert history["epoch"].tolist() == [1]
        assert history[["train_loss", "valid_loss", "lr", "seconds"]].gt(0).all(axis=None)


def test_two_runs_with_one_seed_are_bitwise_equal_and_another_seed_differs(done, other, faces, tmp_path):
    assert run_command(faces, tmp_path / "same") == 0
    assert arrays(tmp_path / "same").test.tobytes() == arrays(done).test.tobytes()
    weights = Path("members/simple_cnn_v2/model.safetensors")
    assert (tmp_path / "same" / weights).read_bytes() == (done / weights).read_bytes()
    assert arrays(other).test.tobytes() != arrays(done).test.tobytes()


def test_a_member_whose_predictions_are_damaged_is_trained_again_to_the_same_end(done, faces, tmp_path, capsys):
    run = shutil.copytree(done, tmp_path / "run")
    (run / "predictions" / "compact_cnn.npz").write_bytes(b"")
    (run / "submission.csv").unlink()
    assert run_command(faces, run) == 0
    said = capsys.readouterr().out
    assert "compact_cnn is trained again" in said and "simple_cnn_v2: already finished" in said
    assert (run / "submission.csv").read_bytes() == (done / "submission.csv").read_bytes()
    first, again = (json.loads((folder / "run.json").read_text())["ensemble"] for folder in (done, run))
    assert first == again


def test_a_signals_exit_code_outlives_a_run_json_that_cannot_be_written(faces, tmp_path, monkeypatch):
    def stopped(context):
        monkeypatch.setattr(RunFolder, "write_record", Mock(side_effect=OSError(28, "No space left on device")))
        raise Stopped(15)

    monkeypatch.setattr("src.run.run.train_members", stopped)
    assert run_command(faces, tmp_path / "out") == 143


def test_a_folder_with_another_run_is_refused_and_left_as_it_is(done, faces, capsys):
    before = (done / "run.json").read_bytes()
    for change in (["--seed", "5"], ["--set", "lr=0.1"], ["--set", "max_train_rows=200"]):
        assert run_command(faces, done, *change) == 2
        assert "--overwrite" in capsys.readouterr().err
    assert run_command(faces, done, bundle=fake_bundle(digest="f" * 16)) == 2
    assert "other sources" in capsys.readouterr().err
    assert (done / "run.json").read_bytes() == before


def test_other_data_is_refused_and_overwrite_starts_again(done, tmp_path, capsys):
    run, other = shutil.copytree(done, tmp_path / "run"), tmp_path / "other"
    synthetic.write_files(other, train=300, test=40, seed=9)
    (run / "notes.txt").write_text("mine")
    assert run_command(other, run) == 2
    assert "other data" in capsys.readouterr().err
    assert run_command(other, run, "--overwrite") == 0
    assert check_submission(run / "submission.csv", 40).rows == 40
    assert (run / "notes.txt").read_text() == "mine"


def test_changed_test_labels_change_nothing_in_a_run(tmp_path):
    """The Usage form alone has them beside the training data; so the run reads that, with the labels turned round."""
    honest, turned = tmp_path / "honest", tmp_path / "turned"
    synthetic.write_files(honest, train=120, test=30, seed=3)
    for name in ("train.csv", "test.csv"):
        (honest / name).unlink()
    turned.mkdir()
    table = pd.read_csv(honest / "icml_face_data.csv", skipinitialspace=True)
    table.loc[table["Usage"] != "Training", "emotion"] = 6 - table["emotion"]
    table.to_csv(turned / "icml_face_data.csv", index=False)
    for folder in (honest, turned):
        assert run_command(folder, folder / "out", "--set", "simple_cnn_v2.tta=flip", "folds=3") == 0
    one, two = arrays(honest / "out"), arrays(turned / "out")
    assert one.test.tobytes() == two.test.tobytes() and one.header["data_digest"] == two.header["data_digest"]


def test_ensemble_blends_finished_runs(done, other, faces, tmp_path, capsys):
    runs = [done, other]
    command = ["ensemble", *map(str, runs), "--output", str(tmp_path / "blend"), "--input", str(faces), "--no-report"]
    assert main(command, fake_bundle()) == 0
    assert "mean of 4" in capsys.readouterr().out
    probs = np.mean([arrays(run, m).test for run in runs for m in ("compact_cnn", "simple_cnn_v2")], axis=0)
    assert np.array_equal(check_submission(tmp_path / "blend" / "submission.csv", 80).labels, probs.argmax(1))


def test_a_recipe_can_validate_on_its_training_rows_and_a_double_correction_warns(faces, tmp_path, capsys):
    command = ["run", "--recipe", "simple_cnn_v0", "--rows", "60", "--input", str(faces), "--output", str(tmp_path)]
    settings = ["--no-report", "--set", "epochs=1", "class_balancing=weights+sampler"]
    assert main([*command, *settings, "--device", "cpu"], fake_bundle()) == 0
    assert json.loads((tmp_path / "run.json").read_text())["rows"] == {"train": 60, "valid": 60, "test": 80}
    assert capsys.readouterr().out.count("twice") == 1


def test_a_reader_that_leaves_after_the_first_line_does_not_stop_a_run(faces, tmp_path, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run_command(faces, tmp_path, "--set", "max_train_rows=100") == 0
        monkeypatch.undo()
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"
    assert "rows, checked" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_run_prints_on_a_terminal_that_lacks_its_characters(done, tmp_path, monkeypatch, encoding):
    """A finished run, started again on data whose folder has other characters, says all it has to say."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    folder, source = tmp_path / "lauf 面", tmp_path / "gesichter ü 面"
    synthetic.write_files(source, train=300, test=80, seed=1)
    shutil.copytree(done, folder)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert run_command(source, folder) == 0
    monkeypatch.undo()
    text = stdout.buffer.getvalue().decode(encoding)
    assert "already finished" in text and "rows, checked" in text and "\\u9762" in text and not too_wide(text)
