"""The command line: what it takes, what it says, how it ends."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from src import main as module
from src import recipe_table, recipes
from src.data import synthetic
from src.main import main
from src.run.folder import RunFolder
from tests.conftest import fake_bundle
from tests.support.run_records import RECORD


def says(capsys, *command: str, code: int = 2) -> str:
    """What a command writes to standard error, having ended with `code` and without a traceback."""
    assert main(list(command), fake_bundle()) == code
    error = capsys.readouterr().err
    assert "Traceback" not in error and len(error.strip().splitlines()) <= 2
    return error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--recipe", "simple_cn_v2"], ["simple_cn_v2", "did you mean simple_cnn_v2"]),
        (["--set", "epoch=3"], ["epoch", "did you mean epochs"]),
        (["--set", "lr=fast"], ["lr=fast", "a number"]),
        (["--set", "augment.flip=1.5"], ["between 0 and 1"]),
        (["--set", "network=resnet"], ["network=resnet", "simple_cnn_v1"]),
        (["--rows", "many"], ["rows=many", "whole number"]),
        (["--device", "warp"], ["--device warp"]),
        (["--set", "precision=fp16"], ["precision=fp16", "float32"]),
        (["--set", "folds=99"], ["folds=99", "different images"]),
    ],
)
def test_a_wrong_setting_is_one_clear_line(faces, tmp_path, capsys, change, words):
    place = ["--input", str(faces), "--output", str(tmp_path / "out")]
    error = says(capsys, "run", *place, "--device", "cpu", "--recipe", "quick", *change)
    assert all(word in error for word in words), error


@pytest.mark.parametrize(
    ("option", "key"), [("--epochs", "epochs"), ("--learning-rate", "lr"), ("--flip", "augment.flip")]
)
def test_a_setting_that_is_given_as_an_option_leads_to_set(capsys, option, key):
    with pytest.raises(SystemExit, match="2"):
        main(["run", option, "3"], fake_bundle())
    assert f"{key} is a setting: write --set {key}=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
def test_a_bad_row_is_named_with_its_file(tmp_path, capsys, name):
    synthetic.write_files(tmp_path, train=60, test=30)
    lines = (tmp_path / name).read_text().splitlines()
    lines[17] = lines[17].rsplit(" ", 1)[0]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    error = says(capsys, "run", "--recipe", "quick", "--input", str(tmp_path), "--output", str(tmp_path / "out"))
    assert all(word in error for word in (name, "17", "2,303")), error
    assert not (tmp_path / "out" / "run.json").exists()


def test_missing_files_are_answered_with_what_is_there(tmp_path, capsys):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    error = says(capsys, "run", "--input", str(tmp_path), "--output", str(tmp_path / "out"))
    assert "holiday.jpg" in error and "train.csv" in error


def test_check_and_score_end_well_for_a_valid_submission(faces, capsys):
    for command in ("check", "score"):
        assert main([command, str(faces / "example_submission.csv"), "--input", str(faces)], fake_bundle()) == 0
    said = capsys.readouterr().out
    assert "80 rows" in said and "PublicTest" in said and "warning: " in said


def test_recipes_prints_every_recipe_and_every_setting_of_one(capsys):
    assert main(["recipes"], fake_bundle()) == 0
    table = capsys.readouterr().out
    assert all(f"\n{name} " in table for name in recipes.RECIPES)
    assert main(["recipes", "quick"], fake_bundle()) == 0
    assert "simple_cnn_v2.augment.flip" in capsys.readouterr().out


def test_quick_does_not_touch_a_real_run(tmp_path, capsys):
    RunFolder(tmp_path).write_record(replace(RECORD, recipe={"name": "baseline", "seed": 0}))
    assert "not a quick one" in says(capsys, "quick", "--output", str(tmp_path))


def test_ctrl_c_ends_with_130_and_a_defect_keeps_its_traceback(monkeypatch, capsys):
    def broken():
        raise error

    monkeypatch.setattr(recipe_table, "recipes_table", broken)
    error = KeyboardInterrupt()
    assert "interrupted" in says(capsys, "recipes", code=130)
    error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["recipes"], fake_bundle())


def test_the_bare_command_and_the_folders_are_others_in_a_kernel(monkeypatch, tmp_path):
    for variable in ("FER_INPUT", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(variable, raising=False)
    assert module.default_command() == "quick"
    assert module.default_folder("FER_INPUT", tmp_path / "not there", "input") == Path("input")
    assert module.default_folder("FER_INPUT", tmp_path, "input") == tmp_path
    monkeypatch.setenv("FER_INPUT", "elsewhere")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert module.default_folder("FER_INPUT", tmp_path, "input") == Path("elsewhere")
    assert module.default_command() == "run"


def test_built_in_overrides_hold_for_the_built_in_recipe_alone(faces, tmp_path, capsys):
    bundle = fake_bundle(overrides=["epochs=0"])  # out of range: whoever applies it is found out
    place = ["--input", str(faces), "--output", str(tmp_path)]
    assert main(["run", *place], bundle) == 2
    assert "epochs=0" in capsys.readouterr().err
    assert main(["run", *place, "--recipe", "simple_cnn_v9"], bundle) == 2
    assert "simple_cnn_v9" in capsys.readouterr().err


def test_plan_prints_what_each_member_costs_and_leaves_nothing(faces, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--recipe", "quick", "--set", "epochs=2", "--hours", "3", "--device", "cpu"]
    assert main(["plan", "--input", str(faces), *options], fake_bundle()) == 0
    lines = capsys.readouterr().out.splitlines()
    for member in ("compact_cnn", "simple_cnn_v2"):
        (line,) = [line for line in lines if line.split()[:1] == [member]]
        assert "2 epochs of" in line and "to predict" in line
    (left,) = re.findall(r"([\d.]+) h are left of the budget$", lines[-1])
    assert 0 < float(left) <= 3  # the budget counts from the start of this process, which may have run for a while
    assert not any(tmp_path.iterdir())


def test_paths_that_are_not_utf_8_are_printed_with_escapes(faces, tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(faces, folder)
    sheet = str(folder / "example_submission.csv")
    assert main(["check", sheet, "--input", str(folder)], fake_bundle()) == 0
    assert r"caf\udce9/example_submission.csv: valid" in capsys.readouterr().out
    error = says(capsys, "check", sheet, "--input", str(folder / "none"))
    assert r"caf\udce9/none: there is no such folder or file" in error
