"""Section of `explore`: exact copies, copies with different labels, near copies and flat images."""

import numpy as np

from src.dataset import CLASS_NAMES
from src.report.copies import FLAT_DEVIATION, MAX_DISTANCE, MIN_CORRELATION, extra_copies, flat_rows
from src.report.explored import Explored
from src.report.faces import Face, FaceGrid
from src.report.numbers import counted, percent
from src.report.page import Notice, Section, Table

MAX_FACES, MAX_PAIRS, MAX_ROWS = 120, 12, 6


def copies_section(found: Explored) -> Section:
    """Exact copies, and those whose labels differ."""
    train, test = found.names
    inside, leaked = extra_copies(found.train_groups), len(found.test_rows_in_train)
    rows = [
        (f"within {train}", inside, percent(inside / len(found.train_groups))),
        (
            f"within {test}",
            extra_copies(found.test_groups),
            percent(extra_copies(found.test_groups) / len(found.test_groups)),
        ),
        (f"rows of {test} whose image is in {train} too", leaked, percent(leaked / len(found.test_groups))),
    ]
    caption = "Rows whose pixels are all equal to those of an earlier row; the share is of the file's rows."
    conflicting = found.conflicting
    text = f"Copies within {train} whose labels differ: {counted(len(conflicting), 'group')}"
    if not conflicting:
        return Section("Exact copies", [Table(("copies", "rows", "share"), rows, caption), f"{text}."])
    in_rows = sum(map(len, conflicting))
    more = f"; the first {MAX_FACES} are shown" if len(conflicting) > MAX_FACES else ""
    faces = [_conflict(found, rows) for rows in conflicting[:MAX_FACES]]
    text += f", {counted(in_rows, 'row')} in all. No network can be right on all of them{more}."
    return Section(
        "Exact copies",
        [
            Table(("copies", "rows", "share"), rows, caption),
            text,
            FaceGrid("conflicts", faces, "Each image with its labels, how often each is given, and its rows."),
        ],
    )


def near_copies_section(found: Explored) -> Section:
    """The same photograph, moved, cropped or marked differently."""
    near, train = found.near, len(found.data.train)
    rows = found.first_rows[near.pairs]
    across = (rows < train).sum(1) == 1
    labels = np.append(found.data.train.labels, -1)[np.where(rows < train, rows, train)]
    within = (rows < train).all(1)
    differ = within & (labels[:, 0] != labels[:, 1])
    names = found.names
    table = Table(
        ("near copies", "pairs"),
        [
            (f"within {names[0]}", int(within.sum())),
            ("of these with different labels", int(differ.sum())),
            (f"within {names[1]}", int((rows >= train).all(1).sum())),
            (f"between {names[0]} and {names[1]}", int(across.sum())),
        ],
        "The same photograph, moved, cropped or marked differently: pairs of different images whose perceptual "
        f"hashes differ in at most {MAX_DISTANCE} of 64 bits and whose pixels correlate by {MIN_CORRELATION} at least.",
    )
    blocks = [table]
    if not near.complete:
        blocks.append(Notice("There are too many images or pairs: not all were compared, so there can be more."))
    picked = {
        "near-copies-different-labels": (np.flatnonzero(differ), "The most alike pairs whose labels differ."),
        "near-copies": (np.arange(len(rows))[::-1], "The least alike pairs that still count as near copies."),
    }
    for name, (numbers, caption) in picked.items():
        faces = [_pair(found, rows[number], near.correlation[number]) for number in numbers[:MAX_PAIRS]]
        blocks += [FaceGrid(name, faces, caption)] if faces else []
    return Section("Near copies", blocks)


def flat_section(found: Explored) -> Section:
    """Images without content."""
    data, train = found.data, len(found.data.train)
    rows = [*flat_rows(data.train.images), *(flat_rows(data.test.images) + train)]
    text = f"Images whose pixels have a standard deviation below {FLAT_DEVIATION:g} of 255: {len(rows):,}."
    faces = [Face(found.image(row), _lines(found, row)) for row in rows[:MAX_FACES]]
    return Section("Flat images", [text, FaceGrid("flat-images", faces)] if faces else [text])


def _conflict(found: Explored, rows: np.ndarray) -> Face:
    counts = np.bincount(found.data.train.labels[rows])
    labels = [f"{CLASS_NAMES[label]} {counts[label]}×" for label in np.argsort(-counts, kind="stable") if counts[label]]
    more = " …" if len(rows) > MAX_ROWS else ""
    return Face(found.image(rows[0]), (*labels, f"rows {', '.join(str(row + 1) for row in rows[:MAX_ROWS])}{more}"))


def _pair(found: Explored, rows: np.ndarray, correlation: float) -> Face:
    """Both images side by side."""
    one, two = (found.image(row) for row in rows)
    both = np.concatenate([one, np.full((len(one), 2), 255, np.uint8), two], 1)
    lines = [" ".join(_lines(found, row)) for row in rows]
    return Face(both, (*lines, f"correlation {correlation:.3f}"))


def _lines(found: Explored, row: int) -> tuple[str, str]:
    """The label of a row and its place."""
    train = len(found.data.train)
    if row < train:
        return CLASS_NAMES[found.data.train.labels[row]], f"row {row + 1:,}"
    return "test", f"row {row - train + 1:,}"
