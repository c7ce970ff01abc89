"""The same run is continued, another is refused, and --overwrite deletes what a run left and nothing else."""

import os
import re
import shutil
from dataclasses import replace

import pytest

from src import recipes
from src.config import as_dict, override
from src.errors import UserError
from src.run.record import Code
from src.run.run_folder import RUN_FILES, RunFolder
from src.train.tracking import Log
from tests.support.run_records import RECORD, RESULT

OURS = RECORD
OTHER = replace(RECORD, config_hash="r2", data_digest="d2")


@pytest.fixture
def folder(tmp_path):
    """A run that has finished a member, beside files that are not its own."""
    folder = RunFolder(tmp_path / "a" / "run")
    assert folder.claim(OURS, overwrite=False) is None
    folder.member("m").mkdir(parents=True)
    folder.write_record(RECORD)
    folder.write_result("m", RESULT)
    written = [folder.log_file, folder.submission, folder.out_of_fold, folder.predictions("m"), folder.history("m")]
    written.append(folder.tracking / "events")
    folder.tracking.mkdir()
    for file in written:
        file.write_text("content")
    for name in ("notes.txt", "faces/train.csv", "submission.csv.old"):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("mine")
    return folder


def files(folder: RunFolder) -> set[str]:
    return {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}


FOREIGN = {"notes.txt", "faces/train.csv", "submission.csv.old"}
INSIDE = {"members/m/result.json", "members/m/history.csv"}
TRACKED = {"tracking/events"}
RUN = {"run.json", "log.txt", "submission.csv", "oof.csv", "predictions/m.npz", *INSIDE, *TRACKED}


def test_the_files_of_a_run_have_their_known_places(folder):
    assert files(folder) == RUN | FOREIGN
    others = {"report.html", "figures", "blended", "near_copies.csv"}
    assert {name.split("/")[0] for name in RUN} | others == set(RUN_FILES)
    assert set(folder.digests()) == RUN - {"run.json", "log.txt"} - TRACKED


def test_the_same_run_continues_and_keeps_everything(folder):
    before = files(folder)
    assert folder.claim(OURS, overwrite=False) == RECORD
    assert files(folder) == before and folder.read_results(["m", "n"]) == {"m": RESULT}


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (replace(RECORD, config_hash="r2"), "other settings"),
        (replace(RECORD, data_digest="d2"), "other data"),
        (replace(OTHER, code=Code("s2", "abc1234", False)), "other settings and other data and other sources"),
    ],
)
def test_another_run_is_refused_with_the_difference_and_nothing_is_lost(folder, other, found):
    before = files(folder)
    with pytest.raises(UserError, match=f"recipe quick with {found}") as error:
        folder.claim(other, overwrite=False)
    assert "--overwrite" in str(error.value) and "--output" in str(error.value)
    assert files(folder) == before and folder.read_record() == RECORD


@pytest.mark.parametrize("ours", [OURS, OTHER])
def test_overwrite_deletes_the_runs_own_files_and_no_other(folder, ours):
    assert folder.claim(ours, overwrite=True) is None
    assert files(folder) == FOREIGN
    folder.predictions("m").write_bytes(b"")


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["epochs=31"], "other settings (epochs: 31 here, 6 there)"),
        (["simple_cnn_v2.epochs=5", "folds=4"], "(folds: 4 here, 5 there; simple_cnn_v2.epochs: 5 here, 6 there)"),
        (["lr=0.5"], "(lr: 0.5 here, 0.003 and 0.001 there)"),
        (["seed=3", "dropout=0.25"], "(seed: 3 here, 0 there; dropout: 0.25 here, none there)"),
        (["augment.flip=0", "max_train_rows=99"], "(max_train_rows: 99 here, none there; augment.flip: 0.0 here,"),
        (["compact_cnn.seed=2", "time_budget_hours=1"], "(compact_cnn.seed: 2 here, 0 there)"),
    ],
)
def test_the_settings_of_another_run_are_named_with_both_values(folder, assignments, words):
    recipe = as_dict(override(recipes.get("quick"), assignments))
    with pytest.raises(UserError, match=re.escape(words)):
        folder.claim(replace(RECORD, recipe=recipe, config_hash="r2"), overwrite=False)


@pytest.mark.parametrize("recipe", [{"name": "quick", "seed": 0}, {"name": "quick", "seed": 0, "members": [1, None]}])
def test_settings_that_cannot_be_compared_are_other_settings(folder, recipe):
    folder.write_record(replace(RECORD, recipe=recipe))
    with pytest.raises(UserError, match=r"with other settings\."):
        folder.claim(replace(RECORD, config_hash="r2"), overwrite=False)


def test_another_recipe_is_named_without_a_list_of_its_settings(folder):
    recipe = as_dict(recipes.get("baseline"))
    with pytest.raises(UserError, match=r"other settings \(recipe: baseline here, quick there\)"):
        folder.claim(replace(RECORD, recipe=recipe, config_hash="r2"), overwrite=False)


def test_a_half_trained_member_keeps_its_folder_and_a_run_that_has_nothing_gives_way(folder):
    folder.result("m").unlink()
    checkpoint = folder.member("m") / "checkpoint.pt"
    checkpoint.write_bytes(b"hours of work")
    with pytest.raises(UserError, match="other settings"):
        folder.claim(OTHER, overwrite=False)
    assert folder.claim(OURS, overwrite=False) == RECORD
    checkpoint.unlink()
    shutil.rmtree(folder.path / "members")
    with pytest.raises(UserError, match="other settings"):  # its predictions and its submission are there
        folder.claim(OTHER, overwrite=False)
    for file in (folder.predictions("m"), folder.submission):
        file.unlink()
    assert folder.claim(OTHER, overwrite=False) is None
    assert files(folder) == FOREIGN


def test_a_run_that_is_at_work_is_not_started_again(folder):
    folder.require_idle()
    log = Log(folder.log_file)
    with pytest.raises(UserError, match="another process is training this run"):
        folder.require_idle()
    second = Log(folder.log_file)  # of another rank
    log.close()
    with pytest.raises(UserError, match="another process"):
        folder.require_idle()
    second.close()
    folder.require_idle()


def test_an_interrupted_copy_of_an_attached_run_leaves_no_result(folder, tmp_path, monkeypatch):
    new, copied = RunFolder(tmp_path / "new"), []
    new.claim(OURS, overwrite=False)

    def copy(source, target):
        copied.append(source)
        if len(copied) == 4:
            raise KeyboardInterrupt
        return copyfile(source, target)

    copyfile = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(KeyboardInterrupt):
        new.copy_from(folder)
    assert not new.files("members/m/*", "predictions/*", "submission.csv")
    monkeypatch.undo()
    new.copy_from(folder)
    assert files(new) == RUN - {"log.txt"} - TRACKED and new.read_results(["m"]) == {"m": RESULT}


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(UserError, match="cannot be written to"):
        RunFolder(tmp_path / "closed" / "run").claim(OURS, overwrite=False)


def test_a_folder_below_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be written to \(Not a directory\); give another --output"):
        RunFolder(tmp_path / "file" / "run").claim(OURS, overwrite=False)


def test_files_of_a_runs_names_that_no_run_left_are_not_deleted_unasked(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "thesis.npz").write_text("mine")
    with pytest.raises(UserError, match=r"predictions but no run\.json"):
        folder.claim(OURS, overwrite=False)
    assert files(folder) == {"predictions/thesis.npz"}


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        RunFolder(tmp_path / "out").claim(OURS, overwrite=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_clear_removes_a_link_and_not_what_it_leads_to(tmp_path):
    kept, linked = tmp_path / "kept", tmp_path / "linked"
    kept.mkdir()
    linked.mkdir()
    (kept / "precious.npz").write_text("mine")
    (linked / "predictions").symlink_to(kept)
    (linked / "log.txt").symlink_to(kept / "precious.npz")
    RunFolder(linked).clear()
    assert list(linked.iterdir()) == []
    assert (kept / "precious.npz").read_text() == "mine"


@pytest.mark.parametrize("text", [b"", b"{", b'{"recipe": ', b"[1, 2]", b"null", b"\xff\xfe{}", b"{}"], ids=repr)
def test_a_damaged_run_json_is_refused_with_the_way_out_and_overwrite_takes_it(folder, text):
    folder.record_file.write_bytes(text)
    with pytest.raises(UserError, match=r"run\.json.*--overwrite"):
        folder.claim(OURS, overwrite=False)
    assert files(folder) == RUN | FOREIGN
    assert folder.claim(OURS, overwrite=True) is None
    assert files(folder) == FOREIGN
