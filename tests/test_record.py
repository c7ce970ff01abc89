"""Recorded results: what is copied, what the tables say, and that they say it of runs as they were."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src import recipes, record
from src.ensemble import predictions
from src.main import main
from src.submit import check
from tests.conftest import fake_bundle


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory) -> Path:
    """A finished run of the quick recipe with one epoch."""
    output = tmp_path_factory.mktemp("run")
    command = ["run", "--recipe", "quick", "--set", "epochs=1", "--device", "cpu", "--seed", "3"]
    assert main([*command, "--input", str(faces), "--output", str(output)], fake_bundle()) == 0
    return output


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with a README to be filled in and an empty results/."""
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text(f"before\n{record.BEGIN}\nstale\n{record.END}\nafter\n")
    return tmp_path


def call(project: Path, *arguments: str) -> int:
    return record.main([*arguments, "--results", str(project / "results"), "--readme", str(project / "README.md")])


def test_a_recorded_run_has_its_figures_history_score_and_probabilities(run, faces, project):
    assert call(project, str(run), "--input", str(faces)) == 0
    folder = project / "results" / "quick-members.0.epochs=1-members.1.epochs=1-cpu-seed3"
    assert sorted(f.name for f in folder.iterdir()) == ["history.csv", "run.json", "score.json", "test_probs.npz"]
    probs = np.load(folder / "test_probs.npz")["probs"]
    assert probs.dtype == np.float16 and probs.shape == (80, 7)
    assert np.array_equal(probs.argmax(1), check.read(run / "submission.csv"))
    assert set(pd.read_csv(folder / "history.csv")["member"]) == {"compact_cnn", "simple_cnn_v2"}
    page = (project / "results" / "README.md").read_text()
    accuracy = json.loads((run / "run.json").read_text())["ensemble"]["valid_accuracy"]
    assert f"| {100 * accuracy:.2f} |" in page and "members.0.epochs=1" in page


def test_the_readme_counts_only_runs_of_a_recipe_as_it_stands(run, faces, project):
    call(project, str(run), "--input", str(faces))
    text = (project / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "stale" not in text
    assert all(f"| `{name}` |" in text for name in recipes.RECIPES)
    assert next(line for line in text.splitlines() if "`quick`" in line).endswith("| – | – | not run |")


def test_runs_of_several_seeds_are_given_as_mean_and_deviation():
    common = {"recipe": "baseline", "changed": "–", "device": "cpu"}
    rows = [common | {"valid": value, "PublicTest": value} for value in ("60.00", "62.00")]
    line = next(line for line in record.recipes_table(rows).splitlines() if "`baseline`" in line)
    assert "61.00 ± 1.41" in line and "2, cpu" in line


def test_a_run_that_is_not_finished_is_refused(run, faces, project, tmp_path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    content = json.loads((other / "run.json").read_text()) | {"status": "interrupted"}
    (other / "run.json").write_text(json.dumps(content))
    assert call(project, str(other), "--input", str(faces)) == 2
    assert "interrupted" in capsys.readouterr().err


def test_a_readme_without_the_marks_is_left_alone(project, capsys):
    (project / "README.md").write_text("mine")
    assert call(project) == 2
    assert "marks" in capsys.readouterr().err
    assert (project / "README.md").read_text() == "mine"


def altered(run: Path, place: Path, change) -> Path:
    """A copy of the run whose run.json `change` has changed in place."""
    copy = shutil.copytree(run, place)
    content = json.loads((copy / "run.json").read_text())
    change(content)
    (copy / "run.json").write_text(json.dumps(content))
    return copy


def test_a_run_of_other_sources_does_not_take_the_place_of_a_recorded_one(run, faces, project):
    other = altered(run, project / "other", lambda content: content["source"].update(digest="f" * 16, commit="fff1234"))
    for one in (run, other, run, other):
        assert call(project, str(one), "--input", str(faces)) == 0
    first, second = sorted(folder for folder in (project / "results").iterdir() if folder.is_dir())
    assert second.name == f"{first.name}-fff1234"
    assert json.loads((first / "run.json").read_text())["source"]["digest"] == "0" * 16


def test_the_probabilities_are_those_of_the_submission_whatever_members_it_has(run, faces, project):
    def alone(content):
        content["ensemble"]["members"] = ["simple_cnn_v2"]

    assert call(project, str(altered(run, project / "alone", alone)), "--input", str(faces)) == 0
    probs = np.load(next((project / "results").rglob("test_probs.npz")))["probs"]
    expected = predictions.load(run / "predictions/simple_cnn_v2.npz").test
    assert np.array_equal(probs, expected.astype(np.float16))


@pytest.mark.parametrize("members", [["another"], "simple_cnn_v2", [], [3]])
def test_an_ensemble_of_members_that_are_not_there_is_refused(run, faces, project, capsys, members):
    wrong = altered(run, project / "wrong", lambda content: content["ensemble"].update(members=members))
    assert call(project, str(wrong), "--input", str(faces)) == 2
    assert "ensemble.members" in capsys.readouterr().err


def test_what_a_deadline_took_and_what_failed_stands_in_the_table(run):
    content = json.loads((run / "run.json").read_text())
    assert record.shortened(content) == []
    content["members"]["compact_cnn"]["planned"] = 0
    del content["members"]["simple_cnn_v2"]
    content["recipe"]["time_budget_hours"] = 3.0
    assert record.changes(content)[-2:] == ["compact_cnn shortened", "without simple_cnn_v2"]
    assert not any("time_budget_hours" in change for change in record.changes(content))
