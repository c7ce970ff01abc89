"""Scores a submission with the labels that were published later, and ranks it on the leaderboard of 2013.

No other module reads test labels, and this one trains nothing. A test image finds its label by its pixels, because no
document says how test.csv is sorted. The images that occur once show whether it is PublicTest followed by PrivateTest;
that order only serves to tell copies apart.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from src.data import competition
from src.data.competition import LabelledFaces
from src.errors import UserError
from src.submit.check import check_submission
from src.submit.leaderboard import Place, find_leaderboard, place_on

TRAINING, PUBLIC, PRIVATE = 0, 1, 2  # as in LabelledFaces.usage
USAGES = {PUBLIC: "PublicTest", PRIVATE: "PrivateTest"}
WITHOUT_COPY = "no copy in train.csv"
CONTEST_ROWS = 7178  # rows of test.csv; the leaderboard of 2013 is of these rows


@dataclass(frozen=True)
class Matching:
    """The labelled row of each test row: `rows` int64 (n,), -1 if there is none.

    unique: test rows whose pixels occur once on either side. in_order: how many of these are where they would be if
    test.csv were PublicTest followed by PrivateTest. ambiguous: rows paired with copies that nothing tells apart.
    """

    rows: np.ndarray
    unique: int
    in_order: int
    ambiguous: int


@dataclass(frozen=True)
class Measure:
    """One line of the table. low and high bound the 95 % Wilson interval; shares are 0-1."""

    usage: str
    rows: str
    n: int
    right: int
    accuracy: float
    low: float
    high: float
    macro_f1: float


@dataclass(frozen=True)
class Score:
    """The score of a submission. `place` follows from the accuracy on all rows of `place_by`."""

    submission: str
    labels: str
    test_rows: int
    unlabelled: int
    unique: int
    in_order: int
    ambiguous: int
    measures: tuple[Measure, ...]
    place: Place
    place_by: str
    final_board: bool


def score_submission(submission: str | Path, folder: str | Path, leaderboard: str | Path | None = None) -> Score:
    """Scores a submission. `folder` holds the competition's files and the file with the labels.

    leaderboard: a downloaded leaderboard, see `find_leaderboard`. Raises UserError for an invalid submission, for
    missing files, and for labels that belong to other images than those of test.csv.
    """
    files, labelled = competition.read_competition(folder), competition.read_labelled(folder)
    predicted = check_submission(submission, len(files.test), files.example).labels
    found = match_rows(files.test.images, labelled)
    if not (found.rows >= 0).any():
        raise UserError(
            f"No image of test.csv is among the test rows of {labelled.file.name}.\nPut files of one competition there."
        )
    measures = _measures(predicted, labelled, found.rows, _is_among(files.test.images, files.train.images))
    ranked = next(one for one in reversed(measures) if one.rows == "all")
    board = find_leaderboard(leaderboard, folder)
    return Score(
        submission=Path(submission).name,
        labels=labelled.file.name,
        test_rows=len(predicted),
        unlabelled=int((found.rows < 0).sum()),
        unique=found.unique,
        in_order=found.in_order,
        ambiguous=found.ambiguous,
        measures=measures,
        place=place_on(board, ranked.accuracy),
        place_by=ranked.usage,
        final_board=board.is_final,
    )


def correct_masks(submissions: list[Path], folder: str | Path) -> list[dict[str, np.ndarray]]:
    """For each submission, by the name of each usage that has labels: bool (n,), which rows are correct.

    The rows and their order are the same for all submissions, for paired comparisons. Raises UserError as
    `score_submission` does.
    """
    files, labelled = competition.read_competition(folder), competition.read_labelled(folder)
    rows = match_rows(files.test.images, labelled).rows
    usage = np.where(rows >= 0, labelled.usage[rows], TRAINING)
    masks = []
    for submission in submissions:
        predicted = check_submission(submission, len(rows), files.example).labels
        correct = predicted == labelled.labels[rows]
        masks.append({name: correct[usage == number] for number, name in USAGES.items() if (usage == number).any()})
    return masks


def match_rows(images: np.ndarray, labelled: LabelledFaces) -> Matching:
    """Pairs test images, uint8 (n, 48, 48), with the PublicTest and PrivateTest rows of equal pixels.

    The k-th copy in test.csv is paired with the k-th copy among the labelled rows, PublicTest first. If the images
    that occur once show that test.csv has that order too, copies are paired within each usage, so that a private row
    never takes a public label from a file without PrivateTest. Training rows are never used.
    """
    held = np.flatnonzero(labelled.usage != TRAINING)
    held = held[np.argsort(labelled.usage[held], kind="stable")]
    groups = _equal_images(images, labelled.images[held])
    single = np.array([(t[0], p[0]) for t, p in groups if len(t) == len(p) == 1], np.int64).reshape(-1, 2)
    expected = _expected_usage(len(images), labelled.usage[held])
    in_order = int((expected[single[:, 0]] == labelled.usage[held[single[:, 1]]]).sum())
    by_usage = 0 < len(single) == in_order
    same_order = by_usage and bool((np.diff(single[np.argsort(single[:, 0]), 1]) > 0).all())

    rows, ambiguous = np.full(len(images), -1, np.int64), 0
    for tests, places in groups:
        copies = held[places]
        for usage in (PUBLIC, PRIVATE) if by_usage else (None,):
            here = tests[expected[tests] == usage] if usage else tests
            there = copies[labelled.usage[copies] == usage] if usage else copies
            pairs = min(len(here), len(there))
            rows[here[:pairs]] = there[:pairs]
            ambiguous += 0 if _is_certain(here, there, labelled, same_order) else pairs
    return Matching(rows, len(single), in_order, ambiguous)


def format_score(score: Score) -> str:
    """The score as a table with notes, lines under 100 characters, without a line end."""
    names = f"{'usage':11}  {'rows':{len(WITHOUT_COPY)}}"
    head = f"{names}  {'n':>6}  {'right':>6}  {'accuracy':>8}  {'95 % interval':>15}  {'macro-F1':>8}"
    title = f"{score.submission}: {score.test_rows:,} rows, scored with the labels of {score.labels}"
    return "\n".join([title, "", head, *_table(score), "", *_place_lines(score), *_notes(score)])


def _pixels(images: np.ndarray) -> list[bytes]:
    return [image.tobytes() for image in images]


def _is_among(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool (n,): whether `others` has an image of the same pixels."""
    known = set(_pixels(others))
    return np.array([pixels in known for pixels in _pixels(images)], bool)


def _equal_images(tests: np.ndarray, labelled: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each picture that both have: its indices in `tests` and its indices in `labelled`."""
    sides: dict[bytes, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, images in enumerate((tests, labelled)):
        for row, pixels in enumerate(_pixels(images)):
            sides[pixels][side].append(row)
    return [(np.array(t), np.array(p)) for t, p in sides.values() if t and p]


def _expected_usage(rows: int, usage: np.ndarray) -> np.ndarray:
    """The usage of each test row if test.csv is PublicTest followed by PrivateTest."""
    public, private = int((usage == PUBLIC).sum()), int((usage == PRIVATE).sum())
    return np.where(np.arange(rows) < (public or rows - private), PUBLIC, PRIVATE)


def _is_certain(tests: np.ndarray, rows: np.ndarray, labelled: LabelledFaces, same_order: bool) -> bool:
    """Whether pairing copies in order is right: as many on both sides, and the same order or equal labels."""
    if not len(tests) or not len(rows):
        return True
    alike = len(set(zip(labelled.labels[rows].tolist(), labelled.usage[rows].tolist(), strict=True))) == 1
    return len(tests) == len(rows) and (alike or same_order)


def _measures(
    predicted: np.ndarray, labelled: LabelledFaces, rows: np.ndarray, copies: np.ndarray
) -> tuple[Measure, ...]:
    usage = np.where(rows >= 0, labelled.usage[rows], TRAINING)
    measures = []
    for number, name in USAGES.items():
        for words, chosen in (("all", usage == number), (WITHOUT_COPY, (usage == number) & ~copies)):
            if chosen.any():
                measures.append(_measure(name, words, predicted[chosen], labelled.labels[rows[chosen]]))
    return tuple(measures)


def _measure(usage: str, rows: str, predicted: np.ndarray, labels: np.ndarray) -> Measure:
    n, right = len(labels), int((predicted == labels).sum())
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    macro = float(f1_score(labels, predicted, average="macro", zero_division=0))
    return Measure(usage, rows, n, right, right / n, float(interval.low), float(interval.high), macro)


def _table(score: Score) -> list[str]:
    lines = []
    for one in score.measures:
        interval = f"{100 * one.low:.2f} – {100 * one.high:.2f}"
        numbers = f"{one.n:6,}  {one.right:6,}  {100 * one.accuracy:8.2f}  {interval:>15}  {one.macro_f1:8.4f}"
        lines.append(f"{one.usage:11}  {one.rows:{len(WITHOUT_COPY)}}  {numbers}")
    present = {one.usage for one in score.measures}
    return lines + [f"{name}: no labels in {score.labels}" for name in USAGES.values() if name not in present]


def _place_lines(score: Score) -> list[str]:
    if score.test_rows != CONTEST_ROWS:
        return [f"No place: the leaderboard of 2013 is of {CONTEST_ROWS:,} test rows, and these are others"]
    words = score.place.words
    lines = [words[0].upper() + words[1:], f"  by {score.place_by} accuracy, on {score.place.source}"]
    if score.place_by != USAGES[PRIVATE]:
        lines.append("  the final leaderboard is by PrivateTest; the place there may differ")
    if not score.final_board:
        lines.append("  its ten best scores are not those of the final private leaderboard")
    return lines


def _notes(score: Score) -> list[str]:
    verdict = "confirmed" if score.unique and score.in_order == score.unique else "NOT confirmed, holds"
    counts = f"{score.in_order:,} of {score.unique:,} uniquely matched rows"
    notes = [f"test.csv is PublicTest then PrivateTest: {verdict} on {counts}"]
    if score.ambiguous:
        notes.append(f"{score.ambiguous:,} rows are copies that nothing tells apart; they are paired in file order")
    if score.unlabelled:
        notes.append(f"{score.unlabelled:,} test rows have no label in {score.labels}")
    return notes
