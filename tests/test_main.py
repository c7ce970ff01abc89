"""The command line: what it takes, what it says, how it ends."""

import os
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from src import config, recipe_table, recipes
from src import main as module
from src.data import synthetic
from src.main import main
from src.run.run_folder import RunFolder
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


PAGES = ("explore", "lr-find", "compare {0}/a {0}/b", "report {0}/a")


@pytest.mark.parametrize("command", PAGES)
def test_a_page_is_not_written_into_the_folder_of_another_run(faces, tmp_path, capsys, command):
    (tmp_path / "run" / "figures").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    command = f"{command.format(tmp_path)} --input {faces} --output {tmp_path / 'run'}"
    error = says(capsys, *command.split(" "))
    assert error.endswith("run holds a run, whose files must stay.\nGive another --output.\n")
    assert len([*(tmp_path / "run").rglob("*")]) == 2


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run --epochs 3", "write --set epochs=3"),
        ("plan --learning-rate=0.1", "write --set lr=0.1"),
        ("run --batch_size 32 --lr 0.1", "write --set batch_size=32 lr=0.1"),
        ("run --flip", "write --set augment.flip=VALUE"),
        ("run --tta flip", "write --set tta=flip"),
        ("run --model resnet18", "write --set network=resnet18"),
        ("run baseline", "write --recipe baseline"),
        ("run quick --epochs 3", "write --recipe quick --set epochs=3"),
        ("run epochs=3", "write --set epochs=3"),
        ("run --data-dir faces", "write --input"),
        ("plan --gpus 2", "write --nproc"),
        ("run --wandb", "write --track"),
        ("run --track mlflow", "invalid choice"),
        ("quick --epochs 3", "not known to quick; `run` takes --set epochs=3"),
        ("recipes --zzz", "--zzz: not known to recipes\n"),
        ("baseline", "it is a recipe: write run --recipe baseline"),
        ("train", "it is called run"),
        ("--recipe quick", "--recipe: not known to quick; `run` takes --recipe"),
        ("recipe", "did you mean recipes?"),
        ("lr_find", "did you mean lr-find?"),
        ("lr-find --hours 3", "--hours 3: not known to lr-find; `run` takes --hours\n`lr-find --help`"),
        ("plan --overwrite", "--overwrite: not known to plan; `run` takes --overwrite"),
        ("explore --gpus 2", "`run` takes --nproc"),
        ("run --output=", "the path is empty"),
        ("check  ", "the path is empty"),
        ("ensemble a --output=", "the path is empty"),
        ("run --nproc two", "--nproc"),
    ],
)
def test_a_wrong_word_on_the_command_line_leads_to_the_right_one(capsys, command, words):
    with pytest.raises(SystemExit, match="2"):
        main(command.split(" "), fake_bundle())
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and len(error.splitlines()) == 2, error
    first = command.split(" ")[0]
    known = ["run", "plan", "quick", "check", "ensemble", "recipes", "lr-find", "explore"]
    assert (f"`{first} --help`" in error) == (first in known)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--seed 3 --set seed=3", ["--seed 3", "--set seed", "one of them"]),
        ("--set seed=3 --seed 4", ["--seed 4", "--set seed"]),
        ("--track wandb --set track=none", ["--track wandb", "--set track", "one of them"]),
        ("--set track=mlflow", ["track=mlflow", "wandb+tensorboard"]),
        ("--rows 100 --set max_train_rows=90", ["--rows 100", "--set max_train_rows"]),
        ("--hours 1 --set time_budget_hours=2", ["--hours 1", "--set time_budget_hours"]),
        ("--hours 0", ["time_budget_hours=0", "between"]),
        ("--hours -1", ["time_budget_hours=-1", "between"]),
        ("--set time_budget_hours=0", ["time_budget_hours=0", "between"]),
        ("--set freeze_epochs=6 pretrained=auto", ["freeze_epochs=6 with epochs=6", "never trains the whole network"]),
        ("--set pretrained=auto epochs=2 compact_cnn.freeze_epochs=9", ["freeze_epochs=9 with epochs=2"]),
        ("--set freeze_epochs=1", ["freeze_epochs=1 needs pretrained=auto", "pretrained=none"]),
        ("--set cosine_epochs=3", ["cosine_epochs=3 needs schedule=cosine", "schedule=one_cycle"]),
        ("--set simple_cnn_v2.cosine_epochs=3 compact_cnn.schedule=cosine", ["cosine_epochs=3 needs schedule=cosine"]),
        ("--set schedule=cosine lr_patience=3", ["lr_patience=3 needs schedule=plateau", "schedule=cosine"]),
        ("--set lr_factor=0.1", ["lr_factor=0.1 needs schedule=plateau"]),
        ("--set momentum=0.8", ["momentum=0.8 needs optimizer=sgd", "optimizer=adam"]),
        ("--set resize_fraction=0.5", ["resize_fraction=0.5 needs initial_image_size below 48"]),
        ("--set initial_image_size=36", ["initial_image_size=36 needs resize_fraction above 0"]),
        ("--set mixup=0.4 class_balancing=sampler", ["mixup=0.4 with class_balancing=sampler", "copies", "weights"]),
        ("--set class_balancing=weights+sampler cutmix=1", ["cutmix=1.0 with class_balancing=weights+sampler"]),
        ("--set mix_probability=0.5", ["mix_probability=0.5 needs mixup or cutmix above 0", "mixup=0.0 and"]),
        ("--set mix_off_fraction=0.1", ["mix_off_fraction=0.1 needs mixup or cutmix above 0"]),
        ("--set mixup=1 cutmix_share=0.3", ["cutmix_share=0.3 needs mixup and cutmix above 0", "cutmix=0.0"]),
        ("--set augment.erase_max_area=0.2", ["augment.erase_max_area=0.2 needs augment.erase above 0"]),
        ("--set weight_decay_on=weights", ["weight_decay_on=weights needs weight_decay above 0", "weight_decay=0.0"]),
        ("--set soft_target_weight=0.3", ["soft_target_weight=0.3 needs soft_targets=PATH", "soft_targets=none"]),
        ("--set sam_rho=0.1", ["sam_rho=0.1 needs sam_fraction above 0", "sam_fraction=0.0"]),
        ("--set preprocessing=standardize normalization=pretrained", ["replaces normalization=pretrained"]),
        ("--set drop_path=0.1", ["drop_path=0.1: compact_cnn has no stochastic depth", "face_resnet_s"]),
        ("--set valid=train fold=2", ["fold=2 needs valid=fold", "valid=train"]),
    ],
)
def test_settings_that_contradict_each_other_are_named_before_anything_is_made(faces, tmp_path, capsys, given, words):
    command = ["run", "--input", str(faces), "--output", str(tmp_path / "out"), "--device", "cpu"]
    error = says(capsys, *command, *given.split(" "))
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_the_default_folder_is_named_by_recipe_changes_and_seed(monkeypatch, tmp_path):
    monkeypatch.delenv("FER_OUTPUT", raising=False)
    monkeypatch.setattr(module, "KERNEL_OUTPUT", tmp_path / "none")
    quick = recipes.get("quick")

    def name(*assignments: str) -> str:
        return str(module.default_output(config.override(quick, assignments)))

    assert name() == "output/quick-seed0"
    assert name("seed=3", "time_budget_hours=2", "data_folder=a") == "output/quick-seed3"
    assert name("epochs=2", "simple_cnn_v2.lr=0.5") == "output/quick-epochs=2-simple_cnn_v2.lr=0.5-seed0"
    assert name("pretrained=../up and/away") == "output/quick-pretrained=..-up-and-away-seed0"
    long = [name(f"pretrained={'x' * 300}{end}") for end in "ab"]
    assert len(set(long)) == 2 and max(map(len, long)) < 150
    monkeypatch.setenv("FER_OUTPUT", "elsewhere")
    assert name() == "elsewhere"


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


@pytest.mark.parametrize("stated", ["its own", "another", "none", "damaged"])
def test_score_compares_the_submission_with_the_digest_in_run_json(faces, tmp_path, capsys, stated):
    folder = RunFolder(tmp_path)
    shutil.copy(faces / "example_submission.csv", folder.submission)
    files = {"its own": folder.digests(), "another": {"submission.csv": "f" * 64}}.get(stated, {})
    folder.write_record(replace(RECORD, files=files))
    if stated == "damaged":
        folder.record_file.write_text("{")
    command = ["score", str(folder.submission), "--input", str(faces)]
    if stated != "another":
        assert main(command, fake_bundle()) == 0
    else:
        error = says(capsys, *command)
        assert "submission.csv: changed since the run wrote it" in error and "another folder" in error


def test_check_and_score_take_a_zipped_submission(faces, tmp_path, capsys):
    packed = tmp_path / "submission.csv.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(faces / "example_submission.csv", "submission.csv")
    for command in ("check", "score"):
        assert main([command, str(packed), "--input", str(faces)], fake_bundle()) == 0
    assert "submission.csv.zip: 80 rows, scored" in capsys.readouterr().out


def test_recipes_prints_every_recipe_and_every_setting_of_one(capsys):
    assert main(["recipes"], fake_bundle()) == 0
    table = capsys.readouterr().out
    assert all(f"\n{name} " in table for name in recipes.RECIPES)
    assert main(["recipes", "quick"], fake_bundle()) == 0
    assert "simple_cnn_v2.network  " in capsys.readouterr().out


def test_quick_does_not_touch_a_real_run(tmp_path, capsys):
    RunFolder(tmp_path).write_record(replace(RECORD, recipe={"name": "baseline", "seed": 0}))
    assert "not a quick one" in says(capsys, "quick", "--output", str(tmp_path))


def test_quick_does_not_touch_files_that_no_run_left(tmp_path, capsys):
    (tmp_path / "submission.csv").write_text("mine")
    assert "submission.csv but no run.json" in says(capsys, "quick", "--output", str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["submission.csv"]


def test_quick_into_a_file_is_told(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert "out cannot be written to" in says(capsys, "quick", "--output", str(tmp_path / "out"))


def test_quick_ends_with_1_where_a_member_failed(tmp_path, monkeypatch):
    monkeypatch.setattr("src.run.run.run", lambda request: replace(RECORD, failed={"m": "a reason"}))
    monkeypatch.setattr(module, "command_score", lambda *_: 0)
    assert main(["quick", "--output", str(tmp_path)], fake_bundle()) == 1


def test_ctrl_c_ends_with_130_and_a_defect_keeps_its_traceback(monkeypatch, capsys):
    def broken():
        raise error

    monkeypatch.setattr(recipe_table, "recipes_table", broken)
    error = KeyboardInterrupt()
    assert says(capsys, "recipes", code=130) == "interrupted\n"
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
    assert r"caf\udce9/example_submission.csv: valid" in " ".join(capsys.readouterr().out.split())
    error = says(capsys, "check", sheet, "--input", str(folder / "none"))
    assert r"caf\udce9/none: there is no such folder or file" in error
