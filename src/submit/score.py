"""Scores a submission against the labels that were published later, and ranks it on the leaderboard of 2013.

Nothing else in the kit opens test labels, and nothing here trains. A test image finds its label by its pixels, since
no document says in which order test.csv stands; that it is PublicTest followed by PrivateTest is verified on the
images that occur once, and used only to tell copies apart.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from src.data import competition
from src.data.competition import Labelled
from src.errors import UserError
from src.submit import check
from src.submit import leaderboard as boards
from src.submit.leaderboard import Place

TRAINING, PUBLIC, PRIVATE = 0, 1, 2  # as in Labelled.usage
USAGES = {PUBLIC: "PublicTest", PRIVATE: "PrivateTest"}
WITHOUT_COPY = "no copy in train.csv"
CONTEST_ROWS = 7178  # of test.csv; a place among the teams means something on these alone


@dataclass(frozen=True)
class Matching:
    """Which labelled row each test row is: `rows` int64 (n,), -1 where none; the counts say how far to trust it.

    `in_order` of the `unique` test rows, those whose pixels occur once on either side, stand where PublicTest followed
    by PrivateTest would put them. `ambiguous` rows are paired, with copies that nothing tells apart.
    """

    rows: np.ndarray
    unique: int
    in_order: int
    ambiguous: int


@dataclass(frozen=True)
class Measure:
    """One line of the table. `low` and `high` bound the Wilson interval of 95 %; all shares are 0-1."""

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
    """What a submission would have scored; `place` is by the accuracy on all rows of `place_by`."""

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

    def to_dict(self) -> dict:
        """Plain dicts, lists, numbers and texts, ready for JSON."""
        plain = asdict(self)
        return plain | {"measures": list(plain["measures"])}


def score(submission: str | Path, folder: str | Path, leaderboard: str | Path | None = None) -> Score:
    """Scores `submission` with the competition's files and the labelled file found under `folder`.

    `leaderboard`: a downloaded board, see `src.submit.leaderboard.load`. UserError: an invalid submission, files
    that are missing, or labels that belong to other images than test.csv's.
    """
    files = competition.read(folder)
    check.check(submission, len(files.test.images), files.example)
    predicted = check.read(submission, files.example)
    labelled = competition.read_labelled(folder)
    found = match(files.test.images, labelled)
    if not (found.rows >= 0).any():
        raise UserError(
            f"No image of test.csv stands among the test rows of {labelled.file.name}.\n"
            "Put files of one and the same competition there."
        )
    copies = _copied(files.test.images, files.train.images)
    measures = _measures(predicted, labelled, found.rows, copies)
    ranked = next(one for one in reversed(measures) if one.rows == "all")
    board = boards.load(leaderboard, folder)
    return Score(
        submission=Path(submission).name,
        labels=labelled.file.name,
        test_rows=len(predicted),
        unlabelled=int((found.rows < 0).sum()),
        unique=found.unique,
        in_order=found.in_order,
        ambiguous=found.ambiguous,
        measures=measures,
        place=boards.place(board, ranked.accuracy),
        place_by=ranked.usage,
        final_board=board.is_the_final_one,
    )


def rights(submissions: list[Path], folder: str | Path) -> list[dict[str, np.ndarray]]:
    """For each submission, by the name of each half that has labels: bool (n,), which of its rows are right.

    The rows are the same ones in the same order for all, so that submissions can be compared on them, paired.
    UserError as in `score`.
    """
    files, labelled = competition.read(folder), competition.read_labelled(folder)
    rows = match(files.test.images, labelled).rows
    usage = np.where(rows >= 0, labelled.usage[rows], TRAINING)
    halves = {name: usage == number for number, name in USAGES.items() if (usage == number).any()}
    found = []
    for submission in submissions:
        check.check(submission, len(rows), files.example)
        right = check.read(submission, files.example) == labelled.labels[rows]
        found.append({name: right[half] for name, half in halves.items()})
    return found


def match(images: np.ndarray, labelled: Labelled) -> Matching:
    """Pairs test images, uint8 (n, 48, 48), with the PublicTest and PrivateTest rows of equal pixels.

    The k-th copy in test.csv takes the k-th copy among the labelled rows, PublicTest before PrivateTest. Where the
    images that occur once confirm that test.csv has that order too, copies are paired within each half, so that a
    file without PrivateTest never lends a public label to a private row. Training rows are never used.
    """
    held = np.flatnonzero(labelled.usage != TRAINING)
    held = held[np.argsort(labelled.usage[held], kind="stable")]
    groups = _groups(images, labelled.images[held])
    single = np.array([(t[0], h[0]) for t, h in groups if len(t) == len(h) == 1], np.int64).reshape(-1, 2)
    halves = _halves(len(images), labelled.usage[held])
    in_order = int((halves[single[:, 0]] == labelled.usage[held[single[:, 1]]]).sum())
    known_halves = 0 < len(single) == in_order
    same_order = known_halves and bool((np.diff(single[np.argsort(single[:, 0]), 1]) > 0).all())

    rows, ambiguous = np.full(len(images), -1, np.int64), 0
    for tests, places in groups:
        usage = labelled.usage[held[places]]
        for half in (PUBLIC, PRIVATE) if known_halves else (None,):
            here = tests if half is None else tests[halves[tests] == half]
            there = held[places if half is None else places[usage == half]]
            pairs = min(len(here), len(there))
            rows[here[:pairs]] = there[:pairs]
            ambiguous += pairs if not _is_settled(here, there, labelled, same_order) else 0
    return Matching(rows, len(single), in_order, ambiguous)


def text(score: Score) -> str:
    """The score as a table with notes, under 100 columns, without a line end."""
    names = f"{'usage':11}  {'rows':{len(WITHOUT_COPY)}}"
    head = f"{names}  {'n':>6}  {'right':>6}  {'accuracy':>8}  {'95 % interval':>15}  {'macro-F1':>8}"
    title = f"{score.submission}: {score.test_rows:,} rows, scored with the labels of {score.labels}"
    return "\n".join([title, "", head, *_table(score), "", *_place_lines(score), *_notes(score)])


def _pixels(images: np.ndarray) -> list[bytes]:
    return [image.tobytes() for image in images]


def _copied(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool (n,): whether each image stands among the others, pixel for pixel."""
    known = set(_pixels(others))
    return np.array([pixels in known for pixels in _pixels(images)], bool)


def _groups(tests: np.ndarray, labelled: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each different picture that stands on both sides: its rows in test.csv, and its places among the labelled."""
    sides: dict[bytes, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, images in enumerate((tests, labelled)):
        for row, pixels in enumerate(_pixels(images)):
            sides[pixels][side].append(row)
    return [(np.array(t), np.array(h)) for t, h in sides.values() if t and h]


def _halves(rows: int, usage: np.ndarray) -> np.ndarray:
    """The usage each test row has if test.csv is PublicTest followed by PrivateTest."""
    public, private = int((usage == PUBLIC).sum()), int((usage == PRIVATE).sum())
    boundary = public if public else rows - private
    return np.where(np.arange(rows) < boundary, PUBLIC, PRIVATE)


def _is_settled(tests: np.ndarray, rows: np.ndarray, labelled: Labelled, same_order: bool) -> bool:
    """Whether pairing these copies in order can be trusted: one count, and one order or nothing to mix up."""
    if not len(tests) or not len(rows):
        return True
    alike = len(set(zip(labelled.labels[rows].tolist(), labelled.usage[rows].tolist(), strict=True))) == 1
    return len(tests) == len(rows) and (alike or same_order)


def _measures(predicted: np.ndarray, labelled: Labelled, rows: np.ndarray, copies: np.ndarray) -> tuple[Measure, ...]:
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
        return [f"No place: the teams of 2013 were ranked on {CONTEST_ROWS:,} test rows, and these are others"]
    lines = [
        score.place.words[0].upper() + score.place.words[1:],
        f"  by {score.place_by} accuracy, on {score.place.source}",
    ]
    if score.place_by != USAGES[PRIVATE]:
        lines.append("  the final board is by PrivateTest, on which the place may differ")
    if not score.final_board:
        lines.append("  its ten best scores are not those known of the final private leaderboard")
    return lines


def _notes(score: Score) -> list[str]:
    said = "confirmed" if score.unique and score.in_order == score.unique else "NOT confirmed, holds"
    counts = f"{score.in_order:,} of {score.unique:,} uniquely matched rows"
    notes = [f"test.csv is PublicTest then PrivateTest: {said} on {counts}"]
    if score.ambiguous:
        notes.append(f"{score.ambiguous:,} rows are copies that nothing tells apart: paired in the order they stand in")
    if score.unlabelled:
        notes.append(f"{score.unlabelled:,} test rows have no label in {score.labels}")
    return notes
