"""Compares fetched submissions, paired: on the same test rows, by the rows that only one of two has right.

Two accuracies may differ by chance; on the same rows the chance is smaller, and the exact test of McNemar says how
likely a difference as large is between two equally good submissions. Nothing is chosen here: choose on the validation
fold, whose accuracy stands beside.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from src.data import competition
from src.errors import UserError
from src.recipes import aligned
from src.run_folder import RunFolder
from src.submit import check, score


@dataclass(frozen=True)
class Entry:
    """One fetched submission: `right` says of each labelled test row, bool (n,), whether it is right."""

    name: str
    recipe: str
    commit: str
    valid: float | None
    right: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two submissions on the same rows; `difference` in accuracy with the half-width of its 95 % interval, 0-1."""

    only_first: int
    only_second: int
    difference: float
    half_width: float
    p: float


def paired(first: np.ndarray, second: np.ndarray) -> Pair:
    """First against second, each bool (n,): which rows they have right. p is of the exact test of McNemar."""
    a, b, n = int((first & ~second).sum()), int((second & ~first).sum()), len(first)
    p = binomtest(a, a + b).pvalue if a + b else 1.0
    half = 1.96 * math.sqrt(a + b - (a - b) ** 2 / n) / n
    return Pair(a, b, (a - b) / n, half, float(p))


def compare(folders: list[Path], source: Path) -> str:
    """A table of fetched submissions, and each against the newest, paired.

    source: where the competition's files and the labels are. Raises UserError where these are of other data than a run.
    """
    if not folders:
        raise UserError("nothing is fetched yet.\n`fetch` brings home what the kernel left.")
    files, labelled = competition.read(source), competition.read_labelled(source)
    rows = score.match(files.test.images, labelled).rows
    known = rows >= 0
    usage, labels = labelled.usage[rows[known]], labelled.labels[rows[known]]
    entries = [entry(folder, files, labels, known) for folder in folders]
    halves = {name: usage == number for number, name in score.USAGES.items() if (usage == number).any()}
    lines = [("fetched", "recipe", "commit", "valid", *(f"{name} (n={rows.sum():,})" for name, rows in halves.items()))]
    for e in entries:
        accuracies = [f"{100 * e.right[rows].mean():.2f}" for rows in halves.values()]
        lines.append((e.name, e.recipe, e.commit, "-" if e.valid is None else f"{100 * e.valid:.2f}", *accuracies))
    return "\n\n".join([aligned(lines), *against_newest(entries, halves)])


def entry(folder: Path, files: competition.Competition, labels: np.ndarray, known: np.ndarray) -> Entry:
    """Reads one fetched folder."""
    run = RunFolder(folder).read()
    if run["data_digest"] != files.digest:
        raise UserError(f"{folder}: the run had the data {run['data_digest']}, and here is {files.digest}.")
    predicted = check.read(folder / "submission.csv", files.example)
    commit = run["source"]["commit"] + ("+" if run["source"]["dirty"] else "")
    valid = run.get("ensemble", {}).get("valid_accuracy")
    return Entry(folder.name, run["recipe"]["name"], commit, valid, predicted[known] == labels)


def against_newest(entries: list[Entry], halves: dict[str, np.ndarray]) -> list[str]:
    """For each half of the test data, a table of the newest submission against every other one."""
    newest, tables = entries[-1], []
    for name, rows in halves.items() if len(entries) > 1 else ():
        lines = [(f"{newest.name} against, {name}", "points", "95 %", f"only {newest.name}", "only the other", "p")]
        for other in entries[:-1]:
            pair = paired(newest.right[rows], other.right[rows])
            points = f"{100 * pair.difference:+.2f}", f"± {100 * pair.half_width:.2f}"
            lines.append((other.name, *points, str(pair.only_first), str(pair.only_second), f"{pair.p:.3f}"))
        tables.append(aligned(lines))
    return tables
