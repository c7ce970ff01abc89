"""Recorded results: what is copied, what the tables say, and that they say it of runs as they were."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src import recipes, record
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
    (tmp_path / "README.md").write_text(f"before\n{record.BEGIN}\nold\n{record.END}\nafter\n")
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
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
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
