"""`compare` finds what was planted in two runs: settings, accuracies, paired differences, classes, faces."""

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src import config, recipes
from src.data import competition
from src.data.competition import Competition
from src.ensemble.predictions import Predictions, save_predictions
from src.main import main
from src.report.compare_page import compare_page
from src.report.compare_text import compare_text
from src.report.page import render
from src.run.compare import read_compared
from src.run.record import EnsembleResult
from src.run.run_folder import RunFolder
from src.submit.score import score_submission
from src.submit.write import write_submission
from tests.conftest import fake_bundle
from tests.support.browser import check_page
from tests.support.html import Elements
from tests.support.run_records import RECORD

ROWS = np.arange(60, 160)  # validation rows of the runs


@pytest.fixture(scope="module")
def data(faces) -> Competition:
    return competition.read_competition(faces)


def answers(labels: np.ndarray, wrong: list[int], seed: int = 0) -> np.ndarray:
    """Probabilities (n, 7) that name the label, and at the places `wrong` the class after it."""
    named = labels.copy()
    named[wrong] = (named[wrong] + 1) % 7
    sure = np.random.default_rng(seed).uniform(0.5, 0.99, len(labels))
    probs = np.repeat((1 - sure)[:, None] / 6, 7, axis=1)
    probs[np.arange(len(labels)), named] = sure
    return probs.astype(np.float32)


@pytest.fixture(scope="module")
def make(data, tmp_path_factory):
    """Makes a run's folder whose members are wrong at the places `wrong` of its validation rows."""

    def made(name: str, *wrong: list[int], rows=ROWS, settings=(), record=RECORD, ensemble=None, **header) -> Path:
        folder = RunFolder(tmp_path_factory.mktemp("runs") / name)
        (folder.path / "predictions").mkdir(parents=True)
        recipe = config.as_dict(config.override(recipes.get("quick"), [*settings]))
        test = answers(np.arange(80) % 7, [0, 1, len(wrong[0])])
        for number, places in enumerate(wrong):
            valid = answers(data.train.labels[rows], places, number)
            head = {"member": f"m{number}", "data_digest": data.digest} | header
            save_predictions(folder.predictions(f"m{number}"), Predictions(head, rows, valid, test))
        write_submission(folder.submission, test.argmax(1))
        if record:
            folder.write_record(
                replace(record, recipe=recipe, failed={}, files={}, ensemble=ensemble, data_digest=data.digest)
            )
        return folder.path

    return made


@pytest.fixture(scope="module")
def runs(make) -> tuple[Path, Path]:
    """The first is wrong in 30 rows, the second in 10 of these and in 5 others."""
    return make("<b>one</b>", list(range(30))), make("two", [*range(10), *range(50, 55)], settings=["batch_size=99"])


def compare(faces: Path, output: Path, *folders: Path) -> int:
    return main(["compare", *map(str, folders), "--input", str(faces), "--output", str(output)], fake_bundle())


@pytest.fixture
def said(faces):
    """What is said of the runs."""

    def call(*folders: Path) -> str:
        return compare_text(read_compared([*folders], faces))

    return call


@pytest.fixture(scope="module")
def command(runs, faces, tmp_path_factory) -> tuple[str, Path]:
    """What the command says of the two runs, and its page."""
    said, output = io.StringIO(), tmp_path_factory.mktemp("compared")
    with contextlib.redirect_stdout(said):
        assert compare(faces, output, *runs) == 0
    return said.getvalue(), output / "compare.html"


def test_all_seeds_of_a_run_are_named(make, said):
    text = said(make("several", [1], settings=["seeds=0,1", "fold=all"]), make("one", [2], settings=["seed=4"]))
    assert "quick, seeds 0,1, " in text and "quick, seed 4, " in text


def test_copies_in_a_submission_are_noted(make, said):
    results = [EnsembleResult(["m0"], 0.5, 0.5, "mean", {}, labelled_copies=n) for n in (0, 3)]
    text = said(*(make(f"copies{number}", [2], ensemble=result) for number, result in enumerate(results)))
    assert text.count("note: its test rows have copies=labelled: labels of train.csv count there") == 1


def test_the_terminal_and_the_page_have_what_was_planted(command, browser):
    text, page = command
    assert all(len(line) <= 79 or "/" in line for line in text.splitlines())
    assert "batch_size 32 → 99" in text
    assert re.search(r"^A +100 +70\.00 %", text, re.M) and re.search(r"^B +100 +85\.00 %", text, re.M)
    assert "+15.00 ± " in text and "only B right: 20, only A right: 5" in text
    assert "B is better" in text
    found = Elements(page.read_text("utf-8"))
    assert found.row("batch_size") == ["32", "99"] and "<b>one</b>" in found.text
    (pair,) = [row for row in found.rows if row[:2] == ["B against A", "validation"]]
    assert pair[2:4] == ["100", "+15.00"] and pair[5:7] == ["20", "5"] and pair[8] == "B is better"
    assert (
        "Only B is right, A is wrong: 20 faces" in found.text and "Only A is right, B is wrong: 5 faces" in found.text
    )
    check_page(browser, page)


def test_the_faces_and_recalls_are_those_of_the_rows(command, data):
    _, page = command
    found, labels = Elements(page.read_text("utf-8")), data.train.labels[ROWS]
    shown = {int(row) - 1 for row in re.findall(r"row (\d+)", found.text)}
    assert shown <= {*range(70, 90), *range(110, 115)} and shown & set(range(110, 115))
    of_first = (labels == 3) & (np.arange(100) >= 30)
    recall = f"{100 * of_first.sum() / (labels == 3).sum():.2f} %"
    assert [row for row in found.rows if row[:3] == ["Happy", str((labels == 3).sum()), recall]]


def test_the_accuracy_on_the_test_is_that_of_score(said, runs, faces):
    text = said(*runs)
    for letter, run in zip("AB", runs, strict=True):
        score = score_submission(run / "submission.csv", faces)
        for measure in score.measures[::2]:
            part = text[text.index(f"\n{measure.usage} ") :]
            assert re.search(rf"^{letter} +{measure.n} +{100 * measure.accuracy:.2f} %", part, re.M)


def test_the_mean_of_the_members_is_compared(said, make, runs):
    both = make("both", [0, 1, 2], [2, 3, 4])
    text = said(runs[0], both)
    assert "members 2 (mean)" in text
    accuracy = float(re.search(r"^B +100 +([\d.]+) %", text, re.M)[1])
    assert 95 <= accuracy <= 99  # row 2 is wrong in both members, four others in one


def test_the_blend_of_the_submission_is_compared(said, make, runs):
    ensemble = EnsembleResult(["m0", "m2"], 0.5, 0.4, "log_mean")
    some = make("some", [0, 1], [*range(100)], [0, 1, 2], ensemble=ensemble)
    text = said(runs[0], some)
    assert "members 2 (log_mean)" in text
    assert float(re.search(r"^B +100 +([\d.]+) %", text, re.M)[1]) >= 97  # without the member that is always wrong


def test_runs_are_compared_on_the_rows_that_both_have(said, make, runs, data):
    text = said(runs[0], make("shifted", [0], rows=np.arange(100, 180)))
    assert "on 60 validation rows" in text and re.search(r"^B +80 ", text, re.M)
    every = np.arange(len(data.train))
    text = said(make("all-one", [0, 1], rows=every), make("all-two", [1], rows=every))
    assert f"{len(every)} out-of-fold rows" in text
    assert "100 validation rows" in said(runs[0], make("all-three", [0], rows=every))


def test_runs_without_common_validation_rows_are_compared_on_the_test(make, runs, faces):
    found = read_compared([runs[0], make("other", [0], rows=np.arange(0, 50))], faces)
    assert {name for name, *_ in found.pairs()} == {"PublicTest", "PrivateTest"}
    assert "no common validation rows" in render(compare_page(found))


def test_without_labels_of_the_test_the_rest_is_compared(runs, faces, tmp_path):
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_bytes((faces / name).read_bytes())
    found = read_compared([*runs], tmp_path)
    assert "test rows are left out" in compare_text(found) and [name for name, *_ in found.pairs()] == ["validation"]


def test_a_run_without_record_or_submission_is_compared_and_told(said, make, runs):
    bare = make("bare", [0], record=None)
    (bare / "submission.csv").unlink()
    (bare / "run.json").write_text('{"status": "finished"}')
    text = said(runs[0], bare)
    assert (
        "its settings are not compared" in text
        and "no submission.csv" in text
        and "not compared: one is a blend" in text
    )


def test_the_rows_that_a_run_trained_on_are_not_compared(make, runs, faces):
    found = read_compared([runs[0], make("same", [0], settings=["valid=train"])], faces)
    assert "validates on the rows that it trains on" in compare_text(found)
    assert {name for name, *_ in found.pairs()} == {"PublicTest", "PrivateTest"}


FAULTS = ("one", "twice", "no run", "other data", "damaged", "no common row", "output is a file")


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_told_in_one_or_two_lines(fault, faces, make, runs, tmp_path, capsys):
    bad, output = make("bad", [0], **({"data_digest": "x"} if fault == "other data" else {})), tmp_path / "out"
    if fault == "damaged":
        (bad / "predictions" / "m0.npz").write_bytes(b"PK")
    if fault == "no common row":
        bad = make("bad2", [0], rows=np.arange(50))
        (bad / "submission.csv").unlink()
    if fault == "output is a file":
        output.write_text("")
    others = {"one": [], "twice": [runs[0]], "no run": [tmp_path]}.get(fault, [bad])
    assert compare(faces, output, runs[0], *others) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.strip().splitlines()) <= 2, error
