"""A run's report says what its files say, as scikit-learn computes it, and shows the rest where files are missing."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix

from src.data.competition import Competition, read_competition
from src.dataset import CLASS_NAMES
from src.ensemble.blend import blend, fitted_blend
from src.ensemble.predictions import Predictions, load_predictions, save_predictions
from src.main import main
from src.report import run_report
from src.report.metrics import METRICS
from src.report.run_blend import cumulative, disagreement, gain
from src.report.run_classes import class_figures
from src.report.run_faces import confident_errors, likely_labels, select_faces, unsure_rights
from src.report.run_files import read_run
from src.report.run_report import make_sections, report_command, report_run, summary, title
from tests.conftest import ROOT, fake_bundle
from tests.support.browser import check_page
from tests.support.html import Elements
from tests.support.made_up_runs import MEMBERS, made_up_predictions, write_made_up_run

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def data(faces) -> Competition:
    return read_competition(faces)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A finished run of two members; its report is made by the command."""
    return write_made_up_run(tmp_path_factory.mktemp("report") / "run", data)


@pytest.fixture(scope="module")
def page(run, faces) -> Path:
    assert main(["report", str(run), "--input", str(faces)], fake_bundle()) == 0
    return run / "report.html"


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("figures", "report.html"))


@pytest.fixture
def without_charts(monkeypatch):
    """Pictures take most of the time of a page; where only texts count they are left out."""
    monkeypatch.setattr("src.report.faces.FaceGrid.png", lambda grid: b"")
    for module in ("curves", "run_curves", "run_classes", "run_blend"):
        monkeypatch.setattr(f"src.report.{module}.draw", lambda name, caption, *_, **__: caption)


def read(folder: Path) -> Elements:
    return Elements((folder / "report.html").read_text("utf-8"))


def change(folder: Path, **changes) -> None:
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | changes))


# --------------------------------------------------------------------------------------------- the page


def test_the_page_has_the_figures_of_the_predictions(page, run, data):
    found = Elements(page.read_text("utf-8"))
    members = [load_predictions(run / "predictions" / f"{name}.npz") for name in MEMBERS]
    labels = data.train.labels[members[0].valid_rows]
    for name, one in zip((*MEMBERS, "blend"), (*members, blend(members)), strict=True):
        cells = next(row for row in found.rows if row[0] == name and row[1] == str(len(labels)))
        right = accuracy_score(labels, one.valid.argmax(1))
        macro = classification_report(labels, one.valid.argmax(1), output_dict=True, zero_division=0)["macro avg"]
        assert cells[2] == f"{100 * right:.2f} %" and cells[4] == f"{100 * macro['f1-score']:.2f} %"
        counts = confusion_matrix(labels, one.valid.argmax(1), labels=range(7))
        assert f"{name}: {100 * np.trace(counts) / len(labels):.2f} % of {len(labels)}" in found.text
    assert found.row("schedule") == ["constant", "one_cycle", "one_cycle"] and "at their default" in found.text.lower()


def test_each_picture_is_a_file_too(page):
    names = {file.stem for file in (page.parent / "figures").iterdir()}
    charts = {"loss", "accuracy", "macro-f1", "learning-rate", "reliability", "cumulative-blend", "disagreement"}
    assert names >= charts | {f"confusion-{name}" for name in (*MEMBERS, "blend")} | {"confident-errors"}


def test_a_browser_shows_the_page_on_a_phone_and_a_screen_light_and_dark(browser, page):
    check_page(browser, page)


def test_every_metric_is_explained_in_the_page_and_in_the_docs_in_the_same_words(page):
    text, docs = (
        re.sub(r"\s+", " ", one) for one in (read(page.parent).text, (ROOT / "docs/metrics.md").read_text("utf-8"))
    )
    for term, meaning in METRICS.items():
        assert meaning in text and f"**{term}**: {meaning}" in docs


def test_text_of_a_record_that_looks_like_html_stays_text(copy, data, without_charts):
    record = json.loads((copy / "run.json").read_text())
    record["recipe"]["name"] = record["recipe"]["members"][0]["network"] = record["device"] = EVIL
    (copy / "members" / EVIL).mkdir()
    (copy / "members" / EVIL / "history.csv").write_text("epoch\n1\n")
    change(copy, **record | {"failed": {EVIL: EVIL}, "environment": {EVIL: EVIL}})
    assert report_run(copy, data) == []
    found = read(copy)
    assert found.text.count(EVIL) >= 6
    assert not [item for _, item in found.elements if "onerror" in item or item.get("src") == "x"]


# ------------------------------------------------------------------------------ what is missing or damaged


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "run.json").unlink(), ["run.json is not shown", "No such file"]),
        (lambda run: (run / "run.json").write_text("{"), ["run.json is not shown"]),
        (lambda run: (run / "run.json").write_text("[1]"), ["run.json is not shown: it is no JSON object"]),
        (lambda run: (run / "predictions/compact_cnn.npz").unlink(), ["compact_cnn.npz is missing", "blend is not"]),
        (lambda run: (run / "predictions/compact_cnn.npz").write_bytes(b"PK"), ["compact_cnn.npz is not shown"]),
        (lambda run: (run / "members/compact_cnn/history.csv").unlink(), ["compact_cnn/history.csv is missing"]),
        (lambda run: (run / "members/compact_cnn/history.csv").write_text("a\n1\n"), ["history.csv is not shown"]),
        (lambda run: (run / "members/compact_cnn/history.csv").write_bytes(b"\xff\0,"), ["history.csv is not shown"]),
        (lambda run: shutil.rmtree(run / "predictions"), ["compact_cnn.npz is missing", "simple_cnn_v2.npz"]),
        (lambda run: change(run, status="running"), ["The run has not finished", "running"]),
        (lambda run: change(run, data_digest="f" * 16), ["other data"]),
        (lambda run: change(run, failed={"third": "it diverges"}), ["third is missing: it diverges"]),
        (lambda run: change(run, ensemble=None), ["No member has finished."]),
        (lambda run: (run / "members/compact_cnn/history.csv").open("a").write("\n"), ["changed since"]),
    ],
)
def test_the_page_says_what_is_missing_and_shows_the_rest(copy, data, without_charts, damage, words):
    damage(copy)
    report_run(copy, data)
    found = read(copy)
    assert all(word in found.text for word in words), found.text[:1500]
    assert "simple_cnn_v2" in found.text and "What the figures mean" in found.text


KEYS = ("recipe", "members", "ensemble", "rows", "environment", "files", "code", "blend", "ranks", "status")


@pytest.mark.parametrize("value", [None, 7, [None], {"a": [1]}], ids=str)
def test_any_value_in_run_json_leaves_a_page(copy, data, without_charts, value):
    before = json.loads((copy / "run.json").read_text())
    for key in KEYS:
        (copy / "run.json").write_text(json.dumps(before | {key: value}))
        found = read_run(copy, None)
        sections, _ = make_sections(found, lambda: 1)
        assert sections[-1].heading == "What the figures mean" and title(found) and summary(found), key


def test_without_the_competitions_files_the_curves_are_shown(copy, tmp_path, without_charts):
    said = report_command(copy, tmp_path / "nothing", tmp_path / "out")
    found = read(tmp_path / "out")
    assert "No labels and no faces are shown" in found.text and "No labels" in said
    assert "Accuracy of the validation rows by epoch" in found.text and "50.00 %" in found.text
    assert not (copy / "report.html").exists()


def test_a_history_of_an_older_kit_is_shown_in_per_cent(copy, data):
    file = copy / "members/compact_cnn/history.csv"
    new = read_run(copy, data).history["compact_cnn"]
    old = new.assign(**{key: new[f"{key}_percent"] / 100 for key in ("train_accuracy", "valid_accuracy", "valid_f1")})
    old.drop(columns=[key for key in old if key.endswith("_percent")]).to_csv(file, index=False)
    pd.testing.assert_frame_equal(read_run(copy, data).history["compact_cnn"][new.columns], new)


def test_a_folder_that_holds_no_run_is_refused(tmp_path, faces, capsys):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        assert main(["report", str(tmp_path / folder), "--input", str(faces)], fake_bundle()) == 2
        assert str(tmp_path / folder) in capsys.readouterr().err


def test_a_recipe_that_validates_on_its_training_rows_is_told(copy, data, without_charts):
    record = json.loads((copy / "run.json").read_text())
    change(copy, recipe=record["recipe"] | {"valid": "train"})
    report_run(copy, data)
    text = read(copy).text
    assert "all accuracies are too high" in text and "Not shown: the networks have trained on" in text


def test_the_folds_of_a_member_are_shown_as_one(data, tmp_path, without_charts):
    rows = np.arange(len(data.train))
    names = [f"{name}-f{fold}-s0" for name in ("a", "b") for fold in range(3)]
    run = write_made_up_run(tmp_path / "run", data, names)
    for number, name in enumerate(names):
        part = made_up_predictions(data, name, rows[number % 3 :: 3])
        save_predictions(run / "predictions" / f"{name}.npz", part)
    record = json.loads((run / "run.json").read_text())
    change(run, recipe=record["recipe"] | {"fold": "all"}, files={})
    found = read_run(run, data)
    assert list(found.compared) == ["a-s0", "b-s0"] and found.blended_members == ["a-s0", "b-s0"]
    assert all(np.array_equal(one.valid_rows, rows) for one in (*found.compared.values(), found.blended))
    mean = (found.compared["a-s0"].valid + found.compared["b-s0"].valid) / 2
    assert found.blended.valid == pytest.approx(mean, abs=1e-6)
    report_run(run, data)
    assert "out-of-fold: of all rows" in read(run).text and read(run).row("a-s0")[0] == str(len(rows))


def test_without_validation_rows_there_are_curves_and_no_figures(data, tmp_path, without_charts):
    run = write_made_up_run(tmp_path / "run", data, rows=np.arange(0))
    record, none = json.loads((run / "run.json").read_text()), float("nan")
    ensemble = record["ensemble"] | {"valid_accuracy": none, "valid_f1": none}
    change(run, recipe=record["recipe"] | {"fold": "none"}, ensemble=ensemble)
    assert report_run(run, data) == []
    text = read(run).text
    assert "Not validated" in text and "none is left for validation" in text and "Learning rate by epoch" in text


def test_a_blend_that_is_fitted_is_shown_on_rows_that_it_was_not_fitted_to(copy, data, without_charts):
    record = json.loads((copy / "run.json").read_text())
    figures = {"mean": {"accuracy": 0.7, "log_loss": 0.9, "gain": 0.0, "gain_error": 0.0},
               "stacking": {"accuracy": 0.75, "log_loss": 0.8, "gain": 0.05, "gain_error": 0.01}}  # fmt: skip
    change(copy, ensemble=record["ensemble"] | {"method": "stacking", "figures": figures})
    assert report_run(copy, data) == []
    members = [load_predictions(copy / "predictions" / f"{name}.npz") for name in MEMBERS]
    expected = fitted_blend(members, "stacking", data.train.labels)
    right = accuracy_score(data.train.labels[expected.valid_rows], expected.valid.argmax(1))
    found = read(copy)
    assert found.row("blend")[1] == f"{100 * right:.2f} %" and "the submission is of stacking" in found.text
    assert found.row("stacking") == ["75.00 %", "+5.00 ± 1.00", "0.8000"]


def test_a_blend_has_a_report_too(run, faces, tmp_path, capsys, without_charts):
    command = ["ensemble", str(run), "--input", str(faces), "--output", str(tmp_path / "mean")]
    assert main(command, fake_bundle()) == 0
    assert "report.html" in capsys.readouterr().out
    found = read(tmp_path / "mean")
    assert "A blend by the method mean" in found.text and found.row("blend")[0] == "60"
    assert "Likely label errors" in found.text and "could not be made" not in found.text


def test_a_section_that_fails_is_a_line_and_the_others_are_shown(copy, data, without_charts, monkeypatch):
    monkeypatch.setitem(run_report.SECTIONS, "The blend", Mock(side_effect=KeyError("a defect")))
    (fault,) = report_run(copy, data)
    assert "The blend" in fault and "a defect" in fault
    assert "This section could not be made" in read(copy).text and "What the figures mean" in read(copy).text


def test_when_the_time_is_up_the_other_sections_are_left_out(copy, data, without_charts):
    left = iter([1.0, 1.0])
    report_run(copy, data, lambda: next(left, 0.0))
    text = read(copy).text
    assert "Left out: the time was up." in text and "95 % interval" in text and "Row 1 is" not in text


# ----------------------------------------------------------------------------------------- the figures


@pytest.fixture(scope="module")
def predicted(data) -> list[Predictions]:
    rows = np.arange(0, len(data.train), 2)
    return [made_up_predictions(data, name, rows, skill) for name, skill in (("a", 1.5), ("b", 2.0), ("c", 2.5))]


def test_figures_by_class_are_those_of_scikit_learn(data, predicted):
    labels, guess = data.train.labels[predicted[0].valid_rows], predicted[0].valid.argmax(1)
    expected = classification_report(labels, guess, output_dict=True, zero_division=0, target_names=CLASS_NAMES)
    found = class_figures(predicted[0], labels)
    for name, row in zip((*CLASS_NAMES, "macro avg"), found, strict=True):
        keys = ("precision", "recall", "f1-score", "support")
        assert row == pytest.approx([expected[name][key] for key in keys], nan_ok=True)


def test_a_class_that_does_not_occur_has_no_recall(predicted):
    one = replace(predicted[0], valid=np.eye(7, dtype=np.float32)[[0, 1, 1]], valid_rows=np.arange(3))
    found = class_figures(one, np.array([0, 1, 2]))
    assert np.isnan(found[3, 1]) and found[2, 1] == 0 and found[7, 1] == pytest.approx(2 / 3)


def test_what_a_member_adds_and_how_members_disagree(data, predicted):
    labels = data.train.labels
    truth = labels[predicted[0].valid_rows]
    whole, without = (np.mean([one.valid for one in part], 0) for part in (predicted, predicted[1:]))
    accuracies = [accuracy_score(truth, probs.argmax(1)) for probs in (whole, without)]
    assert gain(predicted, 0, labels) == pytest.approx(accuracies[0] - accuracies[1])
    assert cumulative(predicted, labels)[0] == accuracy_score(truth, predicted[0].valid.argmax(1))
    assert cumulative(predicted, labels)[-1] == pytest.approx(accuracies[0])
    guesses = [one.valid.argmax(1) for one in predicted]
    expected = [[(one != other).mean() for other in guesses] for one in guesses]
    assert disagreement(predicted) == pytest.approx(np.array(expected))


def test_members_with_other_rows_are_compared_on_those_that_they_share(data):
    rows = np.arange(0, 60)
    one, two, three = (made_up_predictions(data, name, part) for name, part in
                       (("a", rows[:40]), ("b", rows[20:]), ("c", rows[:10])))  # fmt: skip
    found, both = disagreement([one, two, three]), slice(20, 40)
    assert found[0, 1] == (one.valid.argmax(1)[both] != two.valid.argmax(1)[:20]).mean() and np.isnan(found[1, 2])
    labels = data.train.labels
    mean = (one.valid[both] + two.valid[:20]) / 2
    shared = [accuracy_score(labels[rows[both]], probs.argmax(1)) for probs in (mean, two.valid[:20])]
    assert gain([one, two], 0, labels) == pytest.approx(shared[0] - shared[1])
    assert np.isnan(gain([two, three], 0, labels))


def test_faces_are_the_most_confident_errors_and_the_least_sure_rights_and_none_twice(data, run):
    images = data.train.images.copy()
    images[5] = images[0]
    known = read_run(run, replace(data, train=replace(data.train, images=images)))
    labels = np.array([0, 0, 1, 1])
    probs = np.array([[0.2, 0.8], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]], np.float32) @ np.eye(7, dtype=np.float32)[:2]
    one = Predictions({}, np.array([0, 5, 10, 15]), probs, probs)
    assert confident_errors(one, labels).tolist() == [1, 0] and unsure_rights(one, labels).tolist() == [2, 3]
    (shown,) = select_faces(known, one, confident_errors(one, labels))
    assert shown.lines[-1] == "row 6" and "90 %" in shown.lines[1]


def test_likely_labels_are_those_of_confident_learning():
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.45, 0.55]]) @ np.eye(7)[:2]
    labels = np.array([0, 0, 0, 1, 0])
    # Thresholds: (0.9 + 0.7 + 0.2 + 0.45) / 4 for class 0, 0.9 for class 1. Row 2 reaches none of them.
    assert likely_labels(probs, labels).tolist() == [0, 0, 0, 1, 0]
    labels[2] = 1
    # Now 0.683 and 0.85: row 3 alone reaches class 1; row 0 and 1 reach class 0.
    assert likely_labels(np.roll(probs, 1, 0), np.roll(labels, 1) * 0 + [1, 0, 0, 1, 1]).tolist()[1:3] == [0, 0]
    planted = np.tile([[0.9, 0.1], [0.1, 0.9]], (20, 1)) @ np.eye(7)[:2]
    given = np.tile([0, 1], 20)
    given[6] = 1
    assert np.flatnonzero(likely_labels(planted, given) != given).tolist() == [6]
