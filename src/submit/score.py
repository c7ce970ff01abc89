"""Scores a submission with the labels that were published later, and ranks it on the leaderboard of 2013.

No other module reads test labels. A test image finds its label by its pixels, because no document says how test.csv is
sorted. Whether it is PublicTest followed by PrivateTest is only used to tell copies apart.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from src.data import competition
from src.data.competition import Competition, LabelledFaces
from src.submit.check import check_submission
from src.submit.class_order import ClassOrder, better_order
from src.submit.leaderboard import KNOWN, Place, place_on, read_leaderboard

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
    """The score of a submission. `place` is by the accuracy on all rows of the usage `place_by`.

    other_order: of the classes, if the submission would score far higher in it.
    """

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
    other_order: ClassOrder | None


def score_submission(submission: str | Path, folder: Path, leaderboard: str | Path | None = None) -> Score:
    """Scores a submission. `folder` holds the competition's files and the file with the labels.

    leaderboard: see `read_leaderboard`; None: the ten best teams. Raises UserError for an invalid submission, for
    missing files, and for labels that belong to other images than those of test.csv.
    """
    files = competition.read_competition(folder)
    labelled = competition.read_labelled(folder, files.test.images)
    predicted = check_submission(submission, len(files.test), files.example).labels
    found = match_rows(files.test.images, labelled)
    copies = _pixels(files.test.images).isin(_pixels(files.train.images)).to_numpy()
    measures = _measures(predicted, labelled, found.rows, copies)
    ranked = next(one for one in reversed(measures) if one.rows == "all")
    ranking = read_leaderboard(leaderboard) if leaderboard else KNOWN
    names, counts = (Path(submission).name, labelled.file.name), (len(predicted), int((found.rows < 0).sum()))
    matched = found.unique, found.in_order, found.ambiguous
    place = place_on(ranking, ranked.accuracy), ranked.usage, ranking.is_final
    has_label = found.rows >= 0
    other_order = better_order(predicted[has_label], labelled.labels[found.rows[has_label]])
    return Score(*names, *counts, *matched, measures, *place, other_order)


def correct_masks(
    submissions: list[Path], folder: Path, files: Competition | None = None
) -> list[dict[str, np.ndarray]]:
    """For each submission, by the name of each usage that has labels: bool (n,), which rows are correct.

    The rows and their order are the same for all submissions, for paired comparisons. files: what was read from the
    folder before. Raises UserError as `score_submission` does.
    """
    files = files or competition.read_competition(folder)
    truths = labels_by_usage(folder, files)
    predictions = [check_submission(submission, len(files.test), files.example).labels for submission in submissions]
    return [{name: (p == truth)[truth >= 0] for name, truth in truths.items()} for p in predictions]


def labels_by_usage(folder: Path, files: Competition) -> dict[str, np.ndarray]:
    """By the name of each usage that has labels: the label of each test row, int64 (n,); -1 for rows of another usage.

    Raises UserError where the folder has no labels, or those of other images.
    """
    labelled = competition.read_labelled(folder, files.test.images)
    rows = match_rows(files.test.images, labelled).rows
    of_usage = _rows_by_usage(labelled, rows)
    return {name: np.where(here, labelled.labels[rows], -1) for name, here in of_usage.items()}


def match_rows(images: np.ndarray, labelled: LabelledFaces) -> Matching:
    """Pairs test images, uint8 (n, 48, 48), with the PublicTest and PrivateTest rows of equal pixels.

    The k-th copy in test.csv is paired with the k-th copy among the labelled rows, PublicTest first. If the images
    that occur once show that test.csv has that order too, copies are paired within each usage, so that a private row
    never takes a public label from a file without PrivateTest. Training rows are never used.
    """
    held = np.flatnonzero(labelled.usage != TRAINING)
    held = held[np.argsort(labelled.usage[held], kind="stable")]
    known = pd.DataFrame({"pixels": _pixels(labelled.images[held]), "usage": labelled.usage[held], "row": held})
    known["answer"] = 10 * labelled.labels[held] + known.usage
    public, private = (known.usage == PUBLIC).sum(), (known.usage == PRIVATE).sum()
    expected = np.where(np.arange(len(images)) < (public or len(images) - private), PUBLIC, PRIVATE)
    tests = pd.DataFrame({"pixels": _pixels(images), "usage": expected})

    once = [table.reset_index().drop_duplicates("pixels", keep=False) for table in (tests, known)]
    single = once[0].merge(once[1], on="pixels")
    in_order = int((single.usage_x == single.usage_y).sum())
    by = ["pixels", "usage"] if 0 < len(single) == in_order else ["pixels"]
    same_order = len(by) == 2 and single.index_y.is_monotonic_increasing
    for table in (tests, known):
        groups = table.groupby(by)
        table["copy"], table["copies"] = groups.cumcount(), groups["pixels"].transform("size")
    known["answers"] = known.groupby(by)["answer"].transform("nunique")
    pairs = tests.merge(known, how="left", on=[*by, "copy"])
    # Pairing copies in order is right if there are as many on both sides, and the same order or one answer.
    certain = (pairs.copies_x == pairs.copies_y) & (same_order | (pairs.answers == 1))
    ambiguous = int((pairs.row.notna() & ~certain).sum())
    return Matching(pairs.row.fillna(-1).to_numpy(np.int64), len(single), in_order, ambiguous)


def format_score(score: Score) -> str:
    """The score as a table with notes, without a line end. Shares are in per cent."""
    head = f"{'usage':11}  {'rows':9}  {'n':>5}  {'right':>5}  {'accuracy %':>10}  {'95 % interval':>15}  macro-F1 %"
    title = f"{score.submission}: {score.test_rows:,} rows, scored with the labels of {score.labels}"
    return "\n".join([title, "", head, *_table(score), "", *_notes(score)])


def _pixels(images: np.ndarray) -> pd.Series:
    return pd.Series([image.tobytes() for image in images], dtype=object)


def _rows_by_usage(labelled: LabelledFaces, rows: np.ndarray) -> dict[str, np.ndarray]:
    """By the name of each usage that has labels: bool (n,), which test rows are of it."""
    usage = np.where(rows >= 0, labelled.usage[rows], TRAINING)
    return {name: usage == number for number, name in USAGES.items() if (usage == number).any()}


def _measures(predicted: np.ndarray, labelled: LabelledFaces, rows: np.ndarray, copies: np.ndarray) -> tuple:
    measures = []
    for usage, here in _rows_by_usage(labelled, rows).items():
        for words, chosen in (("all", here), (WITHOUT_COPY, here & ~copies)):
            if n := int(chosen.sum()):
                labels, given = labelled.labels[rows[chosen]], predicted[chosen]
                right = int((given == labels).sum())
                limits = map(float, binomtest(right, n).proportion_ci(0.95, method="wilson"))
                macro = float(f1_score(labels, given, average="macro", zero_division=0))
                measures.append(Measure(usage, words, n, right, right / n, *limits, macro))
    return tuple(measures)


def _table(score: Score) -> list[str]:
    lines = []
    for one in score.measures:
        interval = f"{100 * one.low:.2f} – {100 * one.high:.2f}"
        numbers = f"{one.n:5,}  {one.right:5,}  {100 * one.accuracy:10.2f}  {interval:>15}  {100 * one.macro_f1:10.2f}"
        lines.append(f"{one.usage:11}  {'no copies' if one.rows == WITHOUT_COPY else one.rows:9}  {numbers}")
    lines.append("no copies: without the rows that are also in train.csv")
    present = {one.usage for one in score.measures}
    return lines + [f"{name}: no labels in {score.labels}" for name in USAGES.values() if name not in present]


def _notes(score: Score) -> list[str]:
    notes = [f"No place: the leaderboard of 2013 is of {CONTEST_ROWS:,} test rows, and these are others"]
    if score.test_rows == CONTEST_ROWS:
        words = score.place.words
        notes = [words[0].upper() + words[1:], f"  by {score.place_by} accuracy, on {score.place.source}"]
        if score.place_by != USAGES[PRIVATE]:
            notes.append("  the final leaderboard is by PrivateTest; the place there may differ")
        if not score.final_board:
            notes.append("  its ten best scores are not those of the final private leaderboard")
    verdict = "confirmed" if score.unique and score.in_order == score.unique else "NOT confirmed, holds"
    counts = f"{score.in_order:,} of {score.unique:,} unique rows"
    notes.append(f"test.csv is PublicTest then PrivateTest: {verdict} on {counts}")
    if score.ambiguous:
        notes.append(f"{score.ambiguous:,} rows are copies that nothing tells apart; they are paired in file order")
    if score.unlabelled:
        notes.append(f"{score.unlabelled:,} test rows have no label in {score.labels}")
    if other := score.other_order:
        which = "in alphabetical order" if other.is_alphabetical else "in another order"
        figures = f"{100 * other.accuracy:.2f} %, not {100 * other.as_it_is:.2f} %"
        notes.append(f"warning: with the classes {which} it has {figures}")
        notes.append(f"  its 0 to 6 would be {', '.join(other.names)}")
    return notes
