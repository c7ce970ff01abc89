"""An earlier run that is attached as an input: the same run continues it, another one is not used."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.small_runs import read_log, train, train_killed, weights

pytestmark = pytest.mark.usefixtures("narrow_networks")

SETTINGS = ("epochs=2",)


@pytest.fixture(scope="module")
def halves(faces, tmp_path_factory) -> tuple[Path, Path]:
    """A run that was broken off in its second member, after a checkpoint, and the same one whole."""
    folder = tmp_path_factory.mktemp("halves")

    def when(trainer, state) -> bool:
        step = trainer.epoch_state and trainer.epoch_state.step
        return trainer.member.name == "simple_cnn_v2" and state.epochs == 1 and step == 2

    train_killed(when, faces, folder / "broken", *SETTINGS, checkpoint_seconds=0.0)
    train(faces, folder / "whole", *SETTINGS)
    return folder / "broken", folder / "whole"


@pytest.fixture
def attached(faces, halves, tmp_path) -> Path:
    """The competition's files, and beside them the broken run, as a kernel has its inputs: not to be written to."""
    shutil.copytree(faces, tmp_path / "input" / "competitions" / "faces")
    earlier = shutil.copytree(halves[0], tmp_path / "input" / "notebooks" / "me" / "fer2013")
    for path in earlier.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield tmp_path / "input"
    for path in earlier.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_finished_members_are_taken_over_and_the_half_trained_one_continues_to_the_bit(attached, halves, tmp_path):
    train(attached, tmp_path / "out", *SETTINGS)
    said = read_log(tmp_path / "out")
    assert "continues the run attached in" in said and "compact_cnn: already finished" in said
    assert "simple_cnn_v2: continues after epoch 1, step 2 of the next" in said
    assert weights(tmp_path / "out") == weights(halves[1])
    assert (tmp_path / "out/submission.csv").read_bytes() == (halves[1] / "submission.csv").read_bytes()


def test_another_run_is_not_taken_over_and_it_is_said_why(faces, halves, tmp_path):
    edits = {
        "other settings": {"config_hash": "0" * 16},
        "other sources": {"code": {"digest": "f" * 16, "commit": "abc1234", "dirty": False}},
        "other data": {"data_digest": "0" * 16},
        "its run.json is damaged": {"status": 3},
    }
    shutil.copytree(faces, tmp_path / "input" / "faces")
    for why, edit in edits.items():
        path = shutil.copytree(halves[0], tmp_path / "input" / why) / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    train(tmp_path / "input", tmp_path / "out", *SETTINGS)
    said = read_log(tmp_path / "out")
    assert "already finished" not in said and all(f"/{why}: an earlier run, not used: {why}" in said for why in edits)


def test_of_several_the_furthest_is_taken_whatever_is_newest(faces, halves, tmp_path):
    """The whole run is the oldest; one has a run.json that promises epochs without a checkpoint of them."""
    shutil.copytree(faces, tmp_path / "input" / "faces")
    whole = shutil.copytree(halves[1], tmp_path / "input" / "c_whole")
    broken = shutil.copytree(halves[0], tmp_path / "input" / "b_broken")
    empty = shutil.copytree(halves[0], tmp_path / "input" / "a_empty")
    shutil.rmtree(empty / "members")
    for age, folder in enumerate((empty, broken, whole)):
        os.utime(folder / "run.json", (10_000 - age, 10_000 - age))
    train(tmp_path / "input", tmp_path / "out", *SETTINGS)
    said = read_log(tmp_path / "out")
    assert f"continues the run attached in {whole}" in said and said.count("already finished") == 2
    assert f"{empty}: an earlier start of this run, not used: 0 epochs, and another has 4" in said
    assert f"{broken}: an earlier start of this run, not used: 3 epochs, and another has 4" in said


def test_what_the_output_folder_holds_goes_before_what_is_attached(attached, halves, tmp_path):
    shutil.copytree(halves[1], tmp_path / "out")
    train(attached, tmp_path / "out", *SETTINGS)
    said = read_log(tmp_path / "out")
    assert "attached" not in said and said.count("already finished") == 2
