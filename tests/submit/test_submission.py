"""Submissions: every form is read back as it was written, every fault is named, and scores are exact."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.data.competition import Labelled
from src.errors import UserError
from src.submit import leaderboard
from src.submit.check import check, parse, read
from src.submit.score import CONTEST_ROWS, PRIVATE, PUBLIC, match, score, text
from src.submit.write import follow, write

LABELS = np.array([3, 0, 6, 6, 1, 2, 4, 5, 3])


def _file(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- the forms ------------------------------------------------------------------------------------------------------

EXAMPLES = {
    "ids from 0": "id,emotion\n" + "".join(f"{row},0\n" for row in range(9)),
    "ids from 1": "ID,emotion\r\n" + "".join(f"{row},0\r\n" for row in range(1, 10)),
    "named ids": "\ufeffImage,Usage,Label\n" + "".join(f"test/{row}.jpg,x,\n" for row in range(9)),
    "falling ids": "id,emotion\n" + "".join(f"{row},0\n" for row in reversed(range(9))),
    "labels first": "emotion,id\n" + "".join(f"0,{row}\n" for row in range(9)),
    "one named column": "emotion\n" + "0\n" * 9,
    "hosts'": "0\n" * 9,
}


@pytest.mark.parametrize("form", ["auto", "kaggle", "no_header"])
def test_a_submission_is_read_back_as_it_was_written(tmp_path, form):
    path = tmp_path / "new" / "submission.csv"
    write(path, LABELS, form=form)
    np.testing.assert_array_equal(read(path), LABELS)
    assert [file.name for file in path.parent.iterdir()] == ["submission.csv"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_followed(tmp_path, name):
    example = _file(tmp_path / "example_submission.csv", EXAMPLES[name])
    path = tmp_path / "submission.csv"
    write(path, LABELS, example)
    np.testing.assert_array_equal(read(path, example), LABELS)
    written, shown = parse(path), parse(example)
    assert (written.header, written.ids) == (shown.header, shown.ids)
    assert check(path, 9, example).warnings == ()


def test_the_forms_letter_by_letter(tmp_path):
    path = tmp_path / "submission.csv"
    write(path, LABELS[:2])
    assert path.read_bytes() == b"id,emotion\n0,3\n1,0\n"
    write(path, LABELS[:2], form="no_header")
    assert path.read_bytes() == b"3\n0\n"
    example = _file(tmp_path / "example.csv", "Image,Usage,Label\na.jpg,x,0\nb.jpg,y,0\n")
    write(path, LABELS[:2], example)
    assert path.read_bytes() == b"Image,Usage,Label\na.jpg,x,3\nb.jpg,y,0\n"
    write(path, LABELS[:2], example, form="kaggle")
    assert path.read_bytes() == b"id,emotion\n0,3\n1,0\n"


@pytest.mark.parametrize("start", [0, 1])
def test_shuffled_rows_are_put_in_id_order(tmp_path, start):
    order = np.random.default_rng(0).permutation(9)
    path = _file(tmp_path / "s.csv", "Id,Emotion\n" + "".join(f"{row + start},{LABELS[row]}\n" for row in order))
    np.testing.assert_array_equal(read(path), LABELS)


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS - 1, LABELS * 1.0, LABELS[None], LABELS[:0]])
def test_labels_that_are_none_are_a_defect_and_leave_nothing(tmp_path, labels):
    with pytest.raises(ValueError, match="labels must be"):
        write(tmp_path / "submission.csv", labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        (b"\x89PNG\xff\x00", "not a CSV"),
        ("id,emotion\n", "no rows"),
        ("<html>\n<p>\n", "1 rows; the test set has 9"),
        ("id,emotion\n0,0\n", "1 rows; the test set has 9"),
        ("id,emotion\n" + "4,0\n" * 9, "line 3: the id '4' stands there a second time"),
        ("1,2\n" * 9, "no header"),
    ],
)
def test_an_example_that_cannot_be_followed(tmp_path, content, words):
    example = _file(tmp_path / "example_submission.csv", content)
    with pytest.raises(UserError, match=words):
        follow(example, 9)
    with pytest.raises(UserError, match=r"example_submission\.csv"):
        write(tmp_path / "submission.csv", LABELS, example)
    assert not (tmp_path / "submission.csv").exists()


def test_an_unknown_form(tmp_path):
    with pytest.raises(UserError, match="'json'"):
        write(tmp_path / "submission.csv", LABELS, form="json")


def test_a_failed_write_leaves_the_last_submission(tmp_path, monkeypatch):
    path = tmp_path / "submission.csv"
    write(path, LABELS)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(path, LABELS[::-1])
    np.testing.assert_array_equal(read(path), LABELS)
    assert len(list(tmp_path.iterdir())) == 1


# --- checking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("id,emotion\n0,3\n1\n", "line 3: 1 columns"),
        ("id,emotion\n0,3\n\n1,2\n", "line 3: 0 columns"),
        ("id,emotion\n0,3\n1,7\n", "line 3: the label is '7'"),
        ("id,emotion\n0,3\n1,2.0\n", "line 3: the label is '2.0'"),
        ("id,emotion\n0,3\n1,\n", "line 3: the label is ''"),
        ("id,emotion\n0,3\n0,2\n", "line 3: the id '0' stands there a second time; '1' is missing"),
        ("id,emotion\n0,3\n2,2\n", "line 3: the id '2' is not one of '0' to '1'; '1' is missing"),
        ("id,emotion\n5,3\n6,2\n", "line 2: the id '5' is not one of '1' to '2'"),
        ("id,emotion\nx,3\n1,2\n", "line 2: the id is 'x'"),
        ("image,emotion\n0,3\n1,2\n", "the columns are 'image,emotion'"),
        ("emotion\n3\n2\n", "the columns are 'emotion'"),
        ("3\n-1\n", "line 2: the label is '-1'"),
        ("3\nHappy\n", "line 2: the label is 'Happy'"),
        ("3\n", "1 rows; the test set has 2"),
        ("3\n2\n1\n", "3 rows; the test set has 2"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, content, words):
    with pytest.raises(UserError) as caught:
        check(_file(tmp_path / "s.csv", content), 2)
    assert "s.csv" in str(caught.value)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,emotion\n0,3\n1,2\n", "line 2: the id '0' is not one of '7' to '8'; '7' is missing"),
        ("id,emotion\n7,3\n", "1 ids, where 2 are expected; '8' is missing"),
    ],
)
def test_ids_must_be_the_example_s(tmp_path, content, words):
    example = _file(tmp_path / "example.csv", "id,emotion\n7,0\n8,0\n")
    with pytest.raises(UserError, match=words):
        check(_file(tmp_path / "s.csv", content), 2, example)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "nothing.csv")


def test_check_counts_and_warns(tmp_path):
    path = tmp_path / "s.csv"
    write(path, LABELS)
    checked = check(path, 9)
    assert (checked.form, checked.rows) == ("id,emotion, ids from 0", 9)
    assert (checked.counts, checked.warnings) == ((1, 1, 1, 2, 1, 1, 2), ())
    write(path, np.full(9, 3))
    assert check(path, 9).warnings == ("every row is Happy",)
    write(path, LABELS.clip(1, 5), form="no_header")
    assert check(path, 9).warnings == ("never predicted: Angry, Neutral",)
    example = _file(tmp_path / "example.csv", EXAMPLES["ids from 1"].replace("ID", "row"))
    write(path, LABELS)
    assert "row,emotion, ids from 1" in check(path, 9, example).warnings[0]


# --- the leaderboard ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "place", "words"),
    [
        (0.75, 1, "place 1 of 56: above RBM 0.71161"),
        (0.71162, 1, "place 1"),
        (0.71161, 2, "place 2 of 56: above Unsupervised 0.69267, below RBM 0.71161"),
        (0.711614, 2, "place 2"),
        (0.63, 10, "place 10 of 56: above sayit"),
        (0.6219, None, "below the ten places known, of 56 teams"),
        (0.0, None, "below the ten places known, of 56 teams"),
    ],
)
def test_places_among_the_ten_known(accuracy, place, words):
    found = leaderboard.place(leaderboard.KNOWN, accuracy)
    assert found.place == place
    assert found.words.startswith(words)


def test_a_downloaded_board_is_found_and_used(tmp_path):
    rows = [*leaderboard.TOP_TEN, ("NA", 0.5), ("Last, the", 0.1)]
    table = "Rank,TeamId,TeamName,Score\n" + "".join(f'1,1,"{name}",{score}\n' for name, score in reversed(rows))
    folder = tmp_path / "deep"
    folder.mkdir()
    _file(folder / "x-publicleaderboard-2026.csv", table)
    board = leaderboard.load(None, tmp_path)
    assert (board.teams, board.is_the_final_one) == (12, True)
    assert leaderboard.place(board, 0.3).words == "place 12 of 12: above Last, the 0.10000, below NA 0.50000"
    assert leaderboard.place(board, 0.05).words == "below all 12 teams"
    other = leaderboard.load(_file(tmp_path / "b.csv", "TeamName,Score\na,.9\n"), tmp_path)
    assert (other.teams, other.is_the_final_one) == (1, False)
    assert leaderboard.load(None, tmp_path / "nothing") is leaderboard.KNOWN


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("TeamName\na\n", "no column Score"),
        ("TeamName,Score\n", "no rows"),
        ("TeamName,Score\na,.5\nb,x\n", "row 2: the score is 'x'"),
        ("TeamName,Score\na,71.161\n", "row 1: the score is"),
    ],
)
def test_a_board_that_is_none(tmp_path, content, words):
    with pytest.raises(UserError, match=words):
        leaderboard.read(_file(tmp_path / "board.csv", content))


# --- scoring --------------------------------------------------------------------------------------------------------


class Contest:
    """A small competition: 20 training images, 10 public and 10 private ones, all different at first."""

    def __init__(self):
        random = np.random.default_rng(7)
        self.images = random.integers(0, 256, (40, 48, 48), dtype=np.uint8)
        self.labels = random.permutation(np.arange(40) % 7)
        self.usage = np.repeat([0, 1, 2], [20, 10, 10]).astype(np.uint8)
        self.order = np.arange(40)
        self.test = np.arange(20, 40)

    def labelled(self) -> Labelled:
        order = self.order
        return Labelled(self.images[order], self.labels[order], self.usage[order], Path("icml_face_data.csv"))

    def matched(self) -> tuple:
        """The labels found for the test rows (-1: none), and the matching."""
        labelled = self.labelled()
        found = match(self.images[self.test], labelled)
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
            _file(folder / name, "\n".join([head, *rows, ""]))
        return folder

    def score(self, folder: Path, labels: np.ndarray):
        write(folder / "submission.csv", labels)
        return score(folder / "submission.csv", self.write(folder))


@pytest.fixture
def contest() -> Contest:
    return Contest()


def _wrong(labels: np.ndarray, rows: list[int]) -> np.ndarray:
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
    assert "test.csv is PublicTest then PrivateTest: confirmed on 20 of 20 uniquely matched rows" in text(found)


def test_wrong_rows_are_counted_where_they_stand(tmp_path, contest):
    contest.images[25] = contest.images[3]  # a public image that also stands in train.csv, predicted wrongly
    contest.order = np.random.default_rng(1).permutation(40)
    found = contest.score(tmp_path, _wrong(contest.labels[20:], [0, 5, 13, 14, 19]))
    assert [(one.right, one.n) for one in found.measures] == [(8, 10), (8, 9), (7, 10), (7, 10)]
    assert found.measures[0].accuracy == 0.8
    assert found.measures[1].accuracy == 8 / 9


def test_the_interval_and_macro_f1_against_references(tmp_path, contest):
    # Wilson, written out: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    contest.labels[20:30] = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    predicted = contest.labels[20:].copy()
    predicted[[0, 5, 6]] = [1, 0, 0]
    one = contest.score(tmp_path, predicted).measures[0]
    p, n, z = 0.7, 10, 1.959963984540054
    middle, half = p + z * z / 2 / n, z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5
    assert (one.low, one.high) == pytest.approx(((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)))
    assert one.macro_f1 == pytest.approx((2 * 4 / (8 + 2 + 1) + 2 * 3 / (6 + 1 + 2)) / 2)


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_labels_are_found_in_any_order(contest, seed):
    if seed is not None:
        contest.order = np.random.default_rng(seed).permutation(40)
    labels, found = contest.matched()
    assert labels == contest.labels[20:].tolist()
    assert (found.unique, found.in_order, found.ambiguous) == (20, 20, 0)


def test_copies_with_different_labels_are_told_apart_by_order(contest):
    for copy in (24, 31, 36):
        contest.images[copy] = contest.images[21]
    contest.labels[[21, 24, 31, 36]] = [0, 1, 2, 3]
    labels, found = contest.matched()
    assert labels == contest.labels[20:].tolist()
    assert (found.unique, found.ambiguous) == (16, 0)


def test_a_labelled_file_with_its_private_rows_first(contest):
    for copy in (24, 31, 36):
        contest.images[copy] = contest.images[21]
    contest.labels[[21, 24, 31, 36]] = [0, 1, 2, 3]
    contest.order = np.r_[30:40, 20:30, 0:20]
    labels, found = contest.matched()
    assert labels == contest.labels[20:].tolist()
    assert (found.unique, found.in_order, found.ambiguous) == (16, 16, 0)


def test_copies_whose_order_is_lost_are_counted(contest):
    contest.images[24] = contest.images[21]
    contest.images[36] = contest.images[31]
    contest.images[33] = contest.images[22]
    contest.labels[[21, 24]], contest.labels[[31, 36]], contest.labels[[22, 33]] = [0, 1], 5, [2, 3]
    contest.order = np.r_[0:20, 29:19:-1, 39:29:-1]
    labels, found = contest.matched()
    assert (labels[1], labels[4]) == (1, 0)  # in the order of the labelled file: a guess, and counted as one
    assert (labels[11], labels[16]) == (5, 5)  # one label: nothing to mix up
    assert (labels[2], labels[13]) == (2, 3)  # one in each half: the halves decide
    assert found.ambiguous == 2


def test_without_private_labels_private_rows_borrow_none(tmp_path, contest):
    contest.images[33] = contest.images[22]  # public and private: only the public row has a label
    contest.images[35] = contest.images[34]
    contest.order = np.arange(30)
    labels, found = contest.matched()
    assert labels == [*contest.labels[20:30].tolist(), *[-1] * 10]
    assert (found.unique, found.in_order, found.ambiguous) == (9, 9, 0)
    result = contest.score(tmp_path, contest.labels[20:])
    assert (result.unlabelled, result.place_by) == (10, "PublicTest")
    assert "PrivateTest: no labels in icml_face_data.csv" in text(result)
    assert "the place may differ" in text(replace(result, test_rows=CONTEST_ROWS))


def test_without_public_labels_public_rows_borrow_none(contest):
    contest.images[33] = contest.images[22]
    contest.order = np.r_[0:20, 30:40]
    labels, found = contest.matched()
    assert labels == [*[-1] * 10, *contest.labels[30:].tolist()]
    assert found.ambiguous == 0


def test_another_order_of_test_csv_is_said(tmp_path, contest):
    contest.test = np.random.default_rng(2).permutation(contest.test)
    result = contest.score(tmp_path, contest.labels[contest.test])
    assert {one.accuracy for one in result.measures} == {1.0}
    assert result.in_order < 20
    assert f"NOT confirmed, holds on {result.in_order} of 20" in text(result)


def test_training_rows_never_label_test_rows(tmp_path, contest):
    contest.images[25] = contest.images[3]
    contest.order = np.delete(contest.order, 25)
    labels, _ = contest.matched()
    assert labels[5] == -1
    contest.usage[:] = 0
    with pytest.raises(UserError):
        contest.score(tmp_path, contest.labels[20:])


def test_labels_of_other_images(tmp_path, contest):
    contest.write(tmp_path)
    test = tmp_path / "test.csv"
    strange = np.random.default_rng(3).integers(0, 256, (20, 2304))
    _file(test, "pixels\n" + "\n".join(" ".join(map(str, row)) for row in strange) + "\n")
    write(tmp_path / "submission.csv", contest.labels[20:])
    with pytest.raises(UserError, match=r"No image of test\.csv"):
        score(tmp_path / "submission.csv", tmp_path)


def test_a_submission_of_another_length(tmp_path, contest):
    with pytest.raises(UserError, match="19 rows; the test set has 20"):
        contest.score(tmp_path, contest.labels[21:])


def test_the_example_decides_which_row_an_id_is(tmp_path, contest):
    _file(tmp_path / "example_submission.csv", "id,emotion\n" + "".join(f"{row},0\n" for row in range(107, 127)))
    rows = [f"{107 + row},{contest.labels[20 + row]}\n" for row in range(20)]
    path = _file(tmp_path / "mine.csv", "id,emotion\n" + "".join(reversed(rows)))
    assert score(path, contest.write(tmp_path)).measures[0].accuracy == 1.0


def test_the_score_is_json_and_its_text_is_narrow(tmp_path, contest):
    result = contest.score(tmp_path, _wrong(contest.labels[20:], [1, 2]))
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert result.to_dict()["place"]["place"] == 1
    assert max(map(len, text(result).splitlines())) < 100


def test_a_board_given_is_the_one_used(tmp_path, contest):
    write(tmp_path / "submission.csv", contest.labels[20:])
    board = _file(tmp_path / "mine.csv", "TeamName,Score\na,1.0\nb,.5\n")
    result = score(tmp_path / "submission.csv", contest.write(tmp_path), leaderboard=board)
    assert result.place.words == "place 2 of 2: above b 0.50000, below a 1.00000"
    assert "are not those known" in text(replace(result, test_rows=CONTEST_ROWS))
    assert "No place" in text(result)  # on 20 rows it would mean nothing


def test_the_full_size_is_matched_in_seconds():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (35_887, 48, 48), dtype=np.uint8)
    usage = np.repeat([0, 1, 2], [28_709, 3_589, 3_589]).astype(np.uint8)
    labelled = Labelled(images, random.integers(0, 7, 35_887), usage, Path("fer2013.csv"))
    start = time.perf_counter()
    found = match(images[28_709:], labelled)
    assert time.perf_counter() - start < 2
    np.testing.assert_array_equal(found.rows, np.arange(28_709, 35_887))
    assert set(usage[found.rows]) == {PUBLIC, PRIVATE}
