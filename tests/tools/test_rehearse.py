"""The rehearsal sees what a kernel must not do; the whole of it runs once, in the old layout of inputs."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.project import whole_project
from tools import rehearse
from tools.rehearse import RehearsalError, check_run


@pytest.fixture
def top(tmp_path, faces) -> Path:
    """What a rehearsal leaves when everything is right."""
    for name in ("src/script.py", "log.txt", "working/log.txt", "working/predictions/m.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "working/members/m").mkdir(parents=True)
    for name in ("history.csv", "model.safetensors"):
        (tmp_path / "working/members/m" / name).write_text("x")
    (tmp_path / "working/run.json").write_text(json.dumps({"members": {"m": {}}}))
    (tmp_path / "input").symlink_to(faces)
    shutil.copy(faces / "example_submission.csv", tmp_path / "working/submission.csv")
    return tmp_path


def test_what_is_right_passes_with_a_line(top):
    assert "members m" in check_run(top, 0, 10.0, 0.05)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda top: (top / "working/predictions/m.npz").unlink(), r"missing: predictions/m\.npz"),
        (lambda top: (top / "working/submission.csv").unlink(), r"missing: submission\.csv"),
        (lambda top: (top / "working/members/m/checkpoint.pt").touch(), r"left over: checkpoint\.pt"),
        (lambda top: (top / "working/.reserve").touch(), r"left over: \.reserve"),
        (lambda top: (top / "src/cache.bin").touch(), "beside the script"),
        (lambda top: (top / "working/submission.csv").write_text("id,emotion\n0,9\n"), r"submission\.csv: .*label"),
    ],
)
def test_a_fault_is_named(top, fault, words):
    fault(top)
    with pytest.raises(RehearsalError, match=words):
        check_run(top, 0, 10.0, 0.05)


def test_an_exit_code_and_the_end_of_its_log_are_told(top):
    (top / "log.txt").write_text("KeyError: 'x'")
    with pytest.raises(RehearsalError, match=r"exit code 1.*\nKeyError"):
        check_run(top, 1, 10.0, 0.05)


def test_a_run_beyond_its_budget_fails(top):
    with pytest.raises(RehearsalError, match="its budget was 180 s"):
        check_run(top, 0, 180.0 + rehearse.GRACE_SECONDS + 1, 0.05)


def test_a_whole_rehearsal_of_a_small_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearse, "ROOT", whole_project(tmp_path / "project"))
    line = rehearse.rehearse("old", None, "simple_cnn_v1", ["epochs=1", "max_train_rows=100"], 0.05)
    assert "members simple_cnn_v1" in line


def test_the_input_is_linked_and_cannot_be_written_to(tmp_path, faces):
    place = tmp_path / "input" / "mounted"
    place.mkdir(parents=True)
    rights = (faces / "train.csv").stat().st_mode
    rehearse.link_files(faces, place)
    rehearse.make_read_only(tmp_path / "input")
    assert (place / "train.csv").samefile(faces / "train.csv") and (faces / "train.csv").stat().st_mode == rights
    assert not place.stat().st_mode & 0o222
    rehearse.make_writable(tmp_path / "input")


def test_an_input_without_the_files_is_named(tmp_path, capsys):
    assert rehearse.main(["--input", str(tmp_path)]) == 1
    assert f"--input {tmp_path}: none of train.csv, " in capsys.readouterr().err


def test_a_recipe_that_does_not_exist_ends_with_1(capsys):
    assert rehearse.main(["--recipe", "simple_cnn_v9"]) == 1
    assert "simple_cnn_v9" in capsys.readouterr().err
