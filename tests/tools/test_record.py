"""Recorded results: what is copied from a run, and that the tables say it of runs as they were."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given

from src import config, recipes
from src.data.competition import read_competition
from src.ensemble.blend import blend
from src.ensemble.out_of_fold import read_out_of_fold
from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.main import main
from src.run.record import BlendedMember, BlendResult, RunRecord, read_record
from src.submit.check import check_submission
from src.train.tracking import PERCENT
from tests.conftest import fake_bundle
from tests.support.fuzzing import edited, edits, examples, read_or_refused
from tools import record, result_tables

FILES = {"run.json", "score.json", "test_probs.npz", "predictions.npz", "ensemble.csv"}  # of an ensemble


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory) -> Path:
    """A finished run of the quick recipe: one epoch on 100 rows."""
    output = tmp_path_factory.mktemp("run")
    command = ["run", "--recipe", "quick", "--set", "epochs=1", "max_train_rows=100", "--device", "cpu", "--seed", "3"]
    assert main([*command, "--input", str(faces), "--output", str(output)], fake_bundle()) == 0
    return output


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with an empty results/."""
    (tmp_path / "results").mkdir()
    return tmp_path


def call(project: Path, *arguments: str) -> int:
    return record.main([*arguments, "--results", str(project / "results")])


def altered(run: Path, place: Path, change) -> Path:
    """A copy of the run whose run.json `change` has changed in place."""
    copy = shutil.copytree(run, place)
    content = json.loads((copy / "run.json").read_text())
    change(content)
    (copy / "run.json").write_text(json.dumps(content))
    return copy


def test_a_recorded_run_has_its_figures_history_score_and_probabilities(run, faces, project):
    assert call(project, str(run), "--input", str(faces)) == 0
    folder = project / "results" / "quick-max_train_rows=100-epochs=1-cpu-seed3"
    assert {f.name for f in folder.iterdir()} == {*FILES, "history.csv"}
    probs = np.load(folder / "test_probs.npz")["probs"]
    assert probs.dtype == np.float16 and probs.shape == (80, 7)
    assert np.array_equal(probs.argmax(1), check_submission(run / "submission.csv", 80).labels)
    assert set(pd.read_csv(folder / "history.csv")["member"]) == {"compact_cnn", "simple_cnn_v2"}
    page = (project / "results" / "README.md").read_text()
    accuracy = json.loads((run / "run.json").read_text())["ensemble"]["valid_accuracy"]
    assert f"| {100 * accuracy:.2f} |" in page and "| max_train_rows=100, epochs=1 |" in page


def test_a_training_can_take_its_soft_targets_from_a_recorded_run(run, faces, project):
    assert call(project, str(run), "--input", str(faces)) == 0
    (file,) = (project / "results").rglob("predictions.npz")
    found = read_out_of_fold(file, read_competition(faces))
    parts = [load_predictions(part) for part in sorted((run / "predictions").glob("*.npz"))]
    assert np.array_equal(np.flatnonzero(~np.isnan(found[:, 0])), parts[0].valid_rows)
    np.testing.assert_allclose(found[parts[0].valid_rows], np.mean([p.valid for p in parts], 0), atol=5e-4)
    probs = np.load(file.with_name("test_probs.npz"))["probs"]
    assert np.array_equal(load_predictions(file).test, probs.astype(np.float32))


def test_the_table_of_recipes_counts_only_runs_of_a_recipe_as_it_stands(run, faces, project):
    call(project, str(run), "--input", str(faces))
    text = (project / "results" / "README.md").read_text()
    assert all(f"| `{name}` |" in text for name in recipes.RECIPES)
    quick = next(line for line in text.splitlines() if "| `quick` |" in line)
    assert set(quick.split(" | ")[3:]) <= {"–", "– |"}


def row(**more) -> dict:
    """A row of the table of runs."""
    plain = {"recipe": "vit", "changed": "–", "device": "cpu", "start": "scratch", "epochs": "2 of 3", "seconds": "9"}
    return plain | {"valid": "50.00", "PublicTest": "60.00"} | more


def cells(page: str, recipe: str) -> list[str]:
    """The cells of a recipe's row."""
    return next(line for line in page.splitlines() if line.startswith(f"| `{recipe}` ")).strip("| ").split(" | ")


def test_runs_of_several_seeds_are_given_as_mean_and_deviation():
    rows = [row(valid=value) for value in ("60.00", "62.00")]
    assert cells(result_tables.table_of_recipes(rows), "vit")[4] == "61.00 ± 1.41"


def test_the_seconds_of_two_devices_are_apart_and_a_blend_has_none():
    gpu = [row(device="H200", seconds=n) for n in ("2", "4")]
    found = cells(result_tables.table_of_recipes([row(), *gpu]), "vit")
    assert found[3:] == ["3", "50.00 ± 0.00", "60.00 ± 0.00", "2 of 3", "scratch", "9; 3 ± 1", "cpu; H200"]
    blend = row(recipe="notebook_ensemble", seconds="–", epochs="–", start="–", device="–")
    found = cells(result_tables.table_of_recipes([blend]), "notebook_ensemble")
    assert found[3:] == ["1", "50.00", "60.00", "–", "–", "–", "–"]


def test_shortened_runs_are_shown_as_such_where_there_are_no_whole_ones():
    short = row(changed="vit shortened")
    assert cells(result_tables.table_of_recipes([short]), "vit")[3:5] == ["1, shortened from 20 epochs", "50.00"]
    both = result_tables.table_of_recipes([short, row(valid="70.00")])
    assert cells(both, "vit")[3:5] == ["1", "70.00"]
    other = row(changed="vit shortened, lr=1")
    assert cells(result_tables.table_of_recipes([other]), "vit")[3:5] == ["–", "–"]


def test_a_run_of_other_sources_does_not_take_the_place_of_a_recorded_one(run, faces, project):
    def elsewhere(content):
        content["code"].update(digest="f" * 16, commit="fff1234")

    other = altered(run, project / "other", elsewhere)
    for one in (run, other, run, other):
        assert call(project, str(one), "--input", str(faces)) == 0
    first, second = sorted(folder for folder in (project / "results").iterdir() if folder.is_dir())
    assert second.name == f"{first.name}-fff1234"
    assert json.loads((first / "run.json").read_text())["code"]["digest"] == "0" * 16


def test_a_resumed_run_takes_the_place_of_the_one_that_it_resumes(run, faces, project):
    """The earlier one had no time for its second member, and was recorded under another name, of another commit."""

    def shorter(content):
        content["members"].pop("simple_cnn_v2")
        content["skipped"] = {"simple_cnn_v2": "no time"}
        content["ensemble"]["members"] = ["compact_cnn"]
        content["code"]["commit"] = "fff1234"

    for one in (altered(run, project / "shorter", shorter), run):
        assert call(project, str(one), "--input", str(faces)) == 0
    (folder,) = (folder for folder in (project / "results").iterdir() if folder.is_dir())
    assert folder.name == "quick-max_train_rows=100-epochs=1-cpu-seed3"
    assert (project / "results" / "README.md").read_text().count("| quick |") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["members"]["compact_cnn"].update(train_seconds=0.25),  # trained again
        lambda content: content.update(data_digest="0" * 16),
        lambda content: content["code"].update(digest="f" * 16, commit="fff1234"),
    ],
)
def test_another_run_keeps_its_place(run, faces, project, change):
    other = project / "results" / "another-name"
    other.mkdir()
    assert call(project, str(run), "--input", str(faces)) == 0
    (recorded,) = (folder for folder in (project / "results").glob("quick-*"))
    content = json.loads((recorded / "run.json").read_text())
    change(content)
    (other / "run.json").write_text(json.dumps(content))
    assert call(project, str(run), "--input", str(faces)) == 0
    assert other.is_dir() and recorded.is_dir()


def test_the_probabilities_are_those_of_the_submission_whatever_members_it_has(run, faces, project):
    alone = altered(run, project / "alone", lambda content: content["ensemble"].update(members=["simple_cnn_v2"]))
    assert call(project, str(alone), "--input", str(faces)) == 0
    probs = np.load(next((project / "results").rglob("test_probs.npz")))["probs"]
    expected = load_predictions(run / "predictions/simple_cnn_v2.npz").test
    assert np.array_equal(probs, expected.astype(np.float16))
    assert not list((project / "results").rglob("ensemble.csv"))


def test_the_probabilities_are_those_of_the_runs_own_blend(run, faces, project):
    other = altered(run, project / "other", lambda content: content["ensemble"].update(method="log_mean"))
    assert call(project, str(other), "--input", str(faces)) == 0
    members = np.stack([load_predictions(file).test for file in sorted((run / "predictions").glob("*.npz"))])
    product = np.exp(np.log(members.astype(float)).mean(0))
    expected = (product / product.sum(1, keepdims=True)).astype(np.float32)
    found = np.load(next((project / "results").rglob("test_probs.npz")))["probs"]
    assert np.array_equal(found, expected.astype(np.float16))
    assert not np.array_equal(found, members.mean(0).astype(np.float16))
    assert "| log_mean (blend, submitted) | 20 |" in (project / "results" / "README.md").read_text()


def test_the_probabilities_have_the_labels_of_copies_where_the_submission_has_them(faces, project, tmp_path):
    """Those of a run and of a blend; the predictions file and the table of the ensemble have the blend without them."""
    command = ["run", "--recipe", "quick", "--device", "cpu", "--input", str(faces), "--output", str(tmp_path / "out")]
    assert main([*command, "--set", "epochs=1", "max_train_rows=150", "copies=labelled"], fake_bundle()) == 0
    count = read_record(tmp_path / "out/run.json", "").ensemble.labelled_copies
    page = (tmp_path / "out/report.html").read_text()
    assert count and f"submission.csv gives {count} copies of training images" in page
    assert f"{count} of 80 test images are also in the training data" in (tmp_path / "out/log.txt").read_text()
    assert call(project, str(tmp_path / "out"), "--input", str(faces)) == 0
    (folder,) = (file.parent for file in project.glob("results/*/run.json"))
    labels = check_submission(tmp_path / "out/submission.csv", 80).labels
    assert np.array_equal(np.load(folder / "test_probs.npz")["probs"].argmax(1), labels)
    members = [load_predictions(file) for file in sorted((tmp_path / "out/predictions").glob("*.npz"))]
    assert not np.array_equal(blend(members).test.argmax(1), labels)
    np.testing.assert_allclose(load_predictions(folder / "predictions.npz").test, blend(members).test, atol=1e-3)
    table = pd.read_csv(folder / "ensemble.csv").set_index("name")
    assert table.loc["mean, copies labelled", "kind"] == "blend, submitted" and table.loc["mean", "kind"] == "blend"
    assert table.loc["mean, copies labelled", "public_test"] > table.loc["mean", "public_test"]
    assert "copies=labelled" in (project / "results/README.md").read_text()
    command = ["ensemble", str(tmp_path / "out"), "--copies", "labelled", "--input", str(faces), "--no-report"]
    assert main([*command, "--output", str(tmp_path / "blend")], fake_bundle()) == 0
    assert call(project, str(tmp_path / "blend"), "--input", str(faces)) == 0
    (again,) = project.glob("results/blend-*")
    answers = check_submission(tmp_path / "blend/submission.csv", 80).labels
    assert np.array_equal(np.load(again / "test_probs.npz")["probs"].argmax(1), answers)
    assert pd.read_csv(again / "ensemble.csv")["kind"].iloc[-1] == "blend, submitted"


def test_many_members_are_shown_by_their_least_and_most(ran):
    few = list(ran().members.values())
    assert result_tables.epochs(few) == "1 of 1 + 1 of 1" and result_tables.listed([1, 2], 1) == "1.0 + 2.0"
    many = [replace(few[0], best_epoch=n, epochs=80) for n in (71, 64, 80, 66, 71)]
    assert result_tables.epochs(many) == "64 to 80 of 80"
    assert result_tables.listed([2.25, 1, 3, 2, 2], 1) == "1.0 to 3.0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "interrupted"}, "interrupted"),
        ({"ensemble": None}, "same command again"),
        ({"ensemble": {"members": ["another"], "valid_accuracy": 0.5, "valid_f1": 0.5}}, "ensemble.members"),
        ({"recipe": config.as_dict(recipes.get("quick")) | {"max_train_rows": "many"}}, "max_train_rows"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(run, faces, project, capsys, change, words):
    wrong = altered(run, project / "wrong", lambda content: content.update(change))
    assert call(project, str(wrong), "--input", str(faces)) == 2
    assert words in capsys.readouterr().err and not any((project / "results").iterdir())


def test_results_that_are_not_there_are_told(tmp_path, capsys):
    assert record.main(["--results", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: no such folder\n"


def test_a_folder_that_is_no_run_is_called_that(project, capsys):
    assert call(project, str(project)) == 2
    assert "no run.json there; name the folder of a finished run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["submission.csv", "predictions/compact_cnn.npz"])
def test_a_run_whose_files_were_changed_since_is_not_recorded(run, faces, project, capsys, name):
    changed = shutil.copytree(run, project / "changed")
    (changed / name).write_bytes((changed / name).read_bytes()[::-1])
    assert call(project, str(changed), "--input", str(faces)) == 2
    assert f"{name}: changed since the run wrote it" in capsys.readouterr().err
    assert not any((project / "results").iterdir())


def test_a_blend_of_runs_is_recorded_with_its_members(run, faces, project):
    command = ["ensemble", str(run), "--input", str(faces), "--output", str(project / "blend"), "--no-report"]
    assert main(command, fake_bundle()) == 0
    assert call(project, str(project / "blend"), "--input", str(faces)) == 0
    (folder,) = (folder for folder in (project / "results").iterdir() if folder.is_dir())
    assert folder.name.startswith("blend-mean-")
    assert {file.name for file in folder.iterdir()} == FILES
    assert list(pd.read_csv(folder / "ensemble.csv")["name"])[:3] == ["compact_cnn", "simple_cnn_v2", "mean"]
    probs = np.load(folder / "test_probs.npz")["probs"]
    assert np.array_equal(probs.argmax(1), check_submission(project / "blend/submission.csv", 80).labels)
    page = (project / "results" / "README.md").read_text()
    assert "| blend | mean of quick.compact_cnn seed 3 + quick.simple_cnn_v2 seed 3 | – |" in page


def test_a_run_that_cannot_be_recorded_leaves_its_earlier_record(run, faces, project, capsys):
    assert call(project, str(run), "--input", str(faces)) == 0
    before = {file: file.read_bytes() for file in (project / "results").rglob("*.*") if file.is_file()}
    unreadable = altered(run, project / "near", lambda content: content["ensemble"].update(near_copies=1))
    (unreadable / "near_copies.csv").write_text("nothing")
    assert call(project, str(unreadable), "--input", str(faces)) == 2
    assert "near_copies.csv" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in (project / "results").rglob("*.*") if file.is_file()} == before


def test_the_folds_of_a_network_are_one_entry_of_a_blends_row():
    def member(name, recipe="a", fold="0"):
        return BlendedMember(name, "0" * 64, recipe, "4", fold)

    folds = [member(f"net-f{fold}-s4", fold=str(fold)) for fold in (0, 1, 3)]
    others = [member("net", "b"), member("net", "b"), member("net", "c", "2"), member("net", "d", "")]
    assert result_tables.blended_networks([*folds, *others]) == [
        "a.net seed 4 folds 0, 1, 3", "2 × b.net seed 4", "c.net seed 4 fold 2", "d.net seed 4",
    ]  # fmt: skip


def test_a_blend_of_an_ensembles_members_is_a_run_of_that_ensemble(ran):
    members = [BlendedMember(m.name, "0" * 64, m.name, "4", "0") for m in recipes.get("notebook_ensemble").members]
    recorded = replace(ran(), blend=BlendResult("mean", members))
    assert result_tables.blended_recipe(recorded) == "notebook_ensemble"
    assert result_tables.seeds(recorded, True) == "4, 4, 4, 4, 4, 4"
    for other in (BlendResult("greedy", members), BlendResult("mean", members[1:])):
        assert result_tables.blended_recipe(replace(recorded, blend=other)) == ""
    alone = BlendResult("mean", [BlendedMember("vit", "0" * 64, "vit", "4", "0")])
    assert result_tables.blended_recipe(replace(recorded, blend=alone)) == ""
    assert result_tables.blended_recipe(ran()) == ""


def test_members_of_a_blend_that_are_called_the_same_are_counted(ran):
    members = [BlendedMember(name, name * 64, "vit", "4", "0") for name in ("a", "b", "a")]
    assert result_tables.changes(replace(ran(), blend=BlendResult("mean", members))) == [
        "mean of 2 × vit.a seed 4 + vit.b seed 4"
    ]


# ------------------------------------------------------------------------------------- "changed"


@pytest.fixture
def ran(run):
    """Makes the record of a run with these settings; scheduled: the finished members and their epochs."""

    def make(*assignments: str, scheduled: dict | None = None) -> RunRecord:
        recorded = read_record(run / "run.json", "")
        recipe = config.override(recipes.get("quick"), list(assignments))
        epochs = {member.name: member.epochs for member in recipe.members} if scheduled is None else scheduled
        results = {name: replace(recorded.members[name], scheduled_epochs=n) for name, n in epochs.items()}
        return replace(recorded, recipe=config.as_dict(recipe), members=results)

    return make


@pytest.mark.parametrize(
    "assignments",
    [
        [],
        ["folds=3", "max_train_rows=50", "epochs=2", "augment.scale=0.1"],
        ["simple_cnn_v2.lr=0.5", "compact_cnn.seed=4"],
        ["dropout=0.25", "compact_cnn.augment.erase=0.5"],
    ],
)
def test_what_changed_is_said_as_set_takes_it(ran, assignments):
    found = result_tables.changes(ran(*assignments))
    assert sorted(found) == sorted(assignments)


VALUES = ("none", "0.5", "3", "24", "1e-05", "cosine", "flip", "bf16", "weights+sampler", "timm:vit_tiny", "a/b c#d")


@pytest.mark.parametrize("recipe", ["quick", "baseline"])
def test_every_setting_that_changed_is_said_as_set_takes_it(recipe):
    named, tried = recipes.get(recipe), {}
    for key in set(config.keys(named)) - {"seed", *config.NOT_HASHED}:
        for value in VALUES:
            with contextlib.suppress(UserError):
                tried[key, value] = config.override(named, [f"{key}={value}"])
    for changed in tried.values():
        found = result_tables.changed_settings(config.as_dict(changed), config.as_dict(named))
        assert config.override(named, found) == changed
    assert len({key for key, _ in tried}) > 40


def test_seed_texts_and_budget_are_no_changes(ran):
    assert result_tables.changes(ran("seed=4", "time_budget_hours=3")) == []


def test_what_the_time_budget_took_and_what_failed_are_changes(ran):
    assert result_tables.changes(ran(scheduled={"compact_cnn": 1})) == [
        "compact_cnn shortened",
        "without simple_cnn_v2",
    ]


# --------------------------------------------------------------------------------- history and names


def test_the_recorded_results_have_the_present_names():
    for file in Path(record.__file__).parent.parent.glob("results/*/run.json"):
        assert read_record(file, "").status == "finished"
        if (file.parent / "history.csv").exists():  # not of a blend
            columns = set(pd.read_csv(file.parent / "history.csv"))
            assert columns >= set(PERCENT.values()) and not columns & set(PERCENT), file


def test_a_history_of_shares_is_refused(run, faces, project, capsys):
    old = shutil.copytree(run, project / "old")
    file = old / "members" / "compact_cnn" / "history.csv"
    present = pd.read_csv(file, dtype=str)
    present.rename(columns={new: name for name, new in PERCENT.items()}).to_csv(file, index=False)
    assert call(project, str(old), "--input", str(faces)) == 2
    assert "record a run of an older version of the kit with that version" in capsys.readouterr().err


HISTORY = b"epoch,lr,train_loss\n1,0.001,1.9\n2,0.001,\n"


@examples(150)
@given(changes=edits)
@example(changes=[])
@example(changes=[("overwrite", 6, b"epoch")])
def test_a_mutated_history_is_read_or_refused_and_an_intact_one_is_kept_to_the_byte(tmp_path, changes):
    path = tmp_path / "history.csv"
    path.write_bytes(edited(HISTORY, changes))
    found = read_or_refused(lambda: record.read_history(path))
    if found is not None:
        assert found["epoch"].str.isdecimal().all()
    assert changes or found.to_csv(index=False).encode() == HISTORY
