"""Scoring: labels are found by pixels in any order of the files, figures agree with references, copies are counted."""

import ast
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from src.data.competition import LabelledFaces
from src.dataset import CLASS_NAMES
from src.errors import UserError
from src.submit.class_order import better_order
from src.submit.score import CONTEST_ROWS, correct_masks, format_score, match_rows, score_submission
from src.submit.write import write_submission
from tests.conftest import ROOT


class Contest:
    """A small competition: 20 training images, then 10 public and 10 private ones; at first no two are equal."""

    def __init__(self):
        random = np.random.default_rng(7)
        self.images = random.integers(0, 256, (40, 48, 48), dtype=np.uint8)
        self.labels = random.permutation(np.arange(40) % 7)
        self.usage = np.repeat([0, 1, 2], [20, 10, 10]).astype(np.uint8)
        self.order = np.arange(40)  # of the rows in the labelled file
        self.test = np.arange(20, 40)  # the rows of test.csv

    def copy(self, source: int, *targets: int) -> None:
        self.images[list(targets)] = self.images[source]

    def matched(self) -> tuple:
        """The labels found for the test rows (-1: none), and the matching."""
        order = self.order
        labelled = LabelledFaces(self.images[order], self.labels[order], self.usage[order], Path("icml_face_data.csv"))
        found = match_rows(self.images[self.test], labelled)
        return np.where(found.rows < 0, -1, labelled.labels[found.rows]).tolist(), found

    def write(self, folder: Path) -> Path:
        names = np.array(["Training", "PublicTest", "PrivateTest"])
        pixels = [" ".join(map(str, image.ravel())) for image in self.images]
        train = [f"{self.labels[row]},{pixels[row]}" for row in range(20)]
        full = [f"{self.labels[row]},{names[self.usage[row]]},{pixels[row]}" for row in self.order]
        for name, head, rows in (
            ("train.csv", "emotion,pixels", train),
            ("test.csv", "pixels", [pixels[row] for row in self.test]),
            ("icml_face_data.csv", "emotion, Usage, pixels", full),
        ):
            (folder / name).write_text("\n".join([head, *rows, ""]))
        return folder

    def score(self, folder: Path, labels: np.ndarray, **options):
        write_submission(folder / "submission.csv", labels)
        return score_submission(folder / "submission.csv", self.write(folder), **options)


@pytest.fixture
def contest() -> Contest:
    return Contest()


def wrong_at(labels: np.ndarray, rows: list[int]) -> np.ndarray:
    labels = labels.copy()
    labels[rows] = (labels[rows] + 1) % 7
    return labels


def test_a_perfect_submission(tmp_path, contest):
    found = contest.score(tmp_path, contest.labels[20:])
    assert [(one.usage, one.rows, one.n) for one in found.measures] == [
        (usage, rows, 10) for usage in ("PublicTest", "PrivateTest") for rows in ("all", "no copy in train.csv")
    ]
    assert {(one.accuracy, one.macro_f1, one.high) for one in found.measures} == {(1.0, 1.0, 1.0)}
    assert (found.place.place, found.place_by, found.unlabelled, found.ambiguous) == (1, "PrivateTest", 0, 0)
    assert "test.csv is PublicTest then PrivateTest: confirmed on 20 of 20 unique rows" in format_score(found)


def test_wrong_rows_are_counted_and_masked_where_they_are(tmp_path, contest):
    contest.copy(3, 25)  # a public image that also is in train.csv, predicted wrongly
    contest.order = np.random.default_rng(1).permutation(40)
    wrong = [0, 5, 13, 14, 19]
    found = contest.score(tmp_path, wrong_at(contest.labels[20:], wrong))
    assert [(one.right, one.n) for one in found.measures] == [(8, 10), (8, 9), (7, 10), (7, 10)]
    assert (found.measures[0].accuracy, found.measures[1].accuracy) == (0.8, 8 / 9)
    (masks,) = correct_masks([tmp_path / "submission.csv"], tmp_path)
    both = np.concatenate([masks["PublicTest"], masks["PrivateTest"]])
    assert np.flatnonzero(~both).tolist() == wrong


def test_the_interval_and_macro_f1_against_references(tmp_path, contest):
    # Wilson, written out: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    contest.labels[20:30] = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    predicted = contest.labels[20:].copy()
    predicted[[0, 5, 6]] = [1, 0, 0]
    score = contest.score(tmp_path, predicted)
    one = score.measures[0]
    p, n, z = 0.7, 10, 1.959963984540054
    middle, half = p + z * z / 2 / n, z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5
    assert (one.low, one.high) == pytest.approx(((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)))
    assert "PublicTest" in (line := format_score(score).splitlines()[3])
    assert f"{100 * one.accuracy:.2f} " in line and f"  {100 * one.macro_f1:.2f}" in line  # both in per cent
    assert one.macro_f1 == pytest.approx((2 * 4 / (8 + 2 + 1) + 2 * 3 / (6 + 1 + 2)) / 2)


def test_a_score_is_json_and_its_text_is_narrow(tmp_path, contest):
    board = tmp_path / "mine.csv"
    board.write_text("TeamName,Score\na,1.0\nb,.5\n")
    result = contest.score(tmp_path, contest.labels[20:], leaderboard=board)
    assert (
        json.loads(json.dumps(asdict(result)))["place"]["words"] == "place 2 of 2: above b 50.000 %, below a 100.000 %"
    )
    assert "No place" in format_score(result)  # the place on 20 rows would mean nothing
    full = format_score(replace(result, test_rows=CONTEST_ROWS))
    assert "are not those of the final" in full and max(map(len, full.splitlines())) < 80


ALPHABETICAL = [CLASS_NAMES.index(name) for name in sorted(CLASS_NAMES)]
ORDERS = {
    "alphabetical": ALPHABETICAL,
    "reverse": [6, 5, 4, 3, 2, 1, 0],
    "neutral first": [6, 0, 1, 2, 3, 4, 5],
    "two exchanged": [0, 1, 2, 4, 3, 5, 6],
}


def predictions(labels: np.ndarray, accuracy: float, seed: int = 0) -> np.ndarray:
    """Labels of which this share is right."""
    random = np.random.default_rng(seed)
    return np.where(random.random(len(labels)) < accuracy, labels, random.integers(0, 7, len(labels)))


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("accuracy", [1.0, 0.6, 0.45])
def test_another_order_of_the_classes_is_found(name, accuracy):
    labels = np.random.default_rng(1).choice(7, 3_000, p=np.array([467, 56, 496, 895, 653, 415, 607]) / 3_589)
    right, order = predictions(labels, accuracy), ORDERS[name]
    found = better_order(np.argsort(order)[right], labels)
    assert found.names == tuple(CLASS_NAMES[label] for label in order)
    assert found.is_alphabetical == (name == "alphabetical")
    assert found.accuracy == (right == labels).mean() > found.as_it_is


@pytest.mark.parametrize("size", [20, 80, 3_000])
def test_labels_in_the_right_order_are_not_put_into_another(size):
    labels = np.random.default_rng(2).choice(7, size, p=np.array([467, 56, 496, 895, 653, 415, 607]) / 3_589)
    for seed, accuracy in enumerate((1.0, 0.6, 0.3, 0.0, 0.0, 0.0)):
        assert better_order(predictions(labels, accuracy, seed), labels) is None
    for constant in range(7):
        assert better_order(np.full(size, constant), labels) is None


def test_the_score_says_that_alphabetical_order_would_score_higher(tmp_path, contest):
    result = contest.score(tmp_path, np.argsort(ALPHABETICAL)[contest.labels[20:]])
    text = format_score(result)
    wrong = 100 * np.isin(contest.labels[20:], [4, 5, 6]).mean()
    assert f"with the classes in alphabetical order it has 100.00 %, not {100 - wrong:.2f} %" in text
    assert "its 0 to 6 would be Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise" in text
    assert max(map(len, text.splitlines()[-2:])) < 80
    assert json.loads(json.dumps(asdict(result)))["other_order"]["accuracy"] == 1.0
    assert "warning" not in format_score(contest.score(tmp_path, contest.labels[20:]))


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_labels_are_found_in_any_order_of_the_labelled_file(contest, seed):
    if seed is not None:
        contest.order = np.random.default_rng(seed).permutation(40)
    labels, found = contest.matched()
    assert labels == contest.labels[20:].tolist()
    assert (found.unique, found.in_order, found.ambiguous) == (20, 20, 0)


@pytest.mark.parametrize("order", [np.r_[0:40], np.r_[30:40, 20:30, 0:20]], ids=["public first", "private first"])
def test_copies_with_different_labels_are_told_apart_by_order(contest, order):
    contest.copy(21, 24, 31, 36)
    contest.labels[[21, 24, 31, 36]] = [0, 1, 2, 3]
    contest.order = order
    labels, found = contest.matched()
    assert labels == contest.labels[20:].tolist()
    assert (found.unique, found.in_order, found.ambiguous) == (16, 16, 0)


def test_copies_whose_order_is_lost_are_counted(contest):
    for source, target in ((21, 24), (31, 36), (22, 33)):
        contest.copy(source, target)
    contest.labels[[21, 24]], contest.labels[[31, 36]], contest.labels[[22, 33]] = [0, 1], 5, [2, 3]
    contest.order = np.r_[0:20, 29:19:-1, 39:29:-1]
    labels, found = contest.matched()
    assert (labels[1], labels[4]) == (1, 0)  # in the order of the labelled file: a guess, and counted as one
    assert (labels[11], labels[16]) == (5, 5)  # equal labels cannot be mixed up
    assert (labels[2], labels[13]) == (2, 3)  # one is public, one private: the usage decides
    assert found.ambiguous == 2


def test_rows_of_a_usage_without_labels_have_none(tmp_path, contest):
    contest.copy(22, 33)  # public and private: only the public row has a label
    contest.copy(34, 35)
    contest.order = np.arange(30)
    labels, found = contest.matched()
    assert labels == [*contest.labels[20:30].tolist(), *[-1] * 10]
    assert (found.unique, found.in_order, found.ambiguous) == (9, 9, 0)
    result = contest.score(tmp_path, contest.labels[20:])
    assert (result.unlabelled, result.place_by) == (10, "PublicTest")
    assert "PrivateTest: no labels in icml_face_data.csv" in format_score(result)
    assert "the place there may differ" in format_score(replace(result, test_rows=CONTEST_ROWS))
    contest.order = np.r_[0:20, 30:40]  # without public labels
    labels, found = contest.matched()
    assert labels == [*[-1] * 10, *contest.labels[30:].tolist()]


def test_another_order_of_test_csv_is_reported(tmp_path, contest):
    contest.test = np.random.default_rng(2).permutation(contest.test)
    result = contest.score(tmp_path, contest.labels[contest.test])
    assert {one.accuracy for one in result.measures} == {1.0}
    assert result.in_order < 20
    assert f"NOT confirmed, holds on {result.in_order} of 20" in format_score(result)


def test_training_rows_never_label_test_rows(tmp_path, contest):
    contest.copy(3, 25)
    contest.order = np.delete(contest.order, 25)
    labels, _ = contest.matched()
    assert labels[5] == -1
    contest.usage[:] = 0
    with pytest.raises(UserError):
        contest.score(tmp_path, contest.labels[20:])


def test_labels_of_other_images_and_wrong_lengths_are_refused(tmp_path, contest):
    with pytest.raises(UserError, match="19 rows; the test set has 20"):
        contest.score(tmp_path, contest.labels[21:])
    contest.write(tmp_path)
    other = np.random.default_rng(3).integers(0, 256, (20, 2304))
    (tmp_path / "test.csv").write_text("pixels\n" + "\n".join(" ".join(map(str, row)) for row in other) + "\n")
    write_submission(tmp_path / "submission.csv", contest.labels[20:])
    with pytest.raises(UserError, match=r"No image of test\.csv"):
        score_submission(tmp_path / "submission.csv", tmp_path)


def test_only_the_scorer_opens_test_labels():
    """No source but the scorer and the module that defines `read_labelled` names it."""
    users = {
        str(file.relative_to(ROOT))
        for folder in ("src", "remote", "tools", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if "read_labelled" in (getattr(node, "attr", None), getattr(node, "id", None), getattr(node, "name", None))
    }
    assert users == {"src/data/competition.py", "src/submit/score.py"}
