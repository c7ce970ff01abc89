"""Compares fetched submissions, paired: on the same test rows, by the rows that only one of two has right.

Two accuracies may differ by chance; on the same rows the chance is smaller, and the exact test of McNemar says how
likely a difference as large is between two equally good submissions. Nothing is chosen here: choose on the validation
fold, whose accuracy the table shows too.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from remote.fetched_runs import check_data
from src.data import competition
from src.errors import UserError
from src.report.paired import compare_pair, p_value
from src.run.record import RunRecord
from src.run.run_folder import RunFolder
from src.submit.score import correct_masks
from src.terminal import aligned


@dataclass(frozen=True)
class Entry:
    """One fetched submission: its run.json, and for each half of the test data which rows are right, bool (n,)."""

    name: str
    run: RunRecord
    correct: dict[str, np.ndarray]


def compare_submissions(folders: list[Path], source: Path) -> str:
    """A table of fetched submissions, and each against the newest, paired.

    Folders without a submission are left out. source: where the competition's files and the labels are. Raises
    UserError where these are of other data than a run.
    """
    folders = [folder for folder in folders if (folder / "submission.csv").is_file()]
    if not folders:
        raise UserError("nothing is fetched yet.\n`fetch` downloads what the kernel left.")
    here = competition.read_competition(source).digest
    for folder in folders:
        check_data(folder, source, here)
    runs = [RunFolder(folder).read_record() for folder in folders]
    masks = correct_masks([folder / "submission.csv" for folder in folders], source)
    entries = [Entry(f.name, run, right) for f, run, right in zip(folders, runs, masks, strict=True)]
    head = ("fetched", "recipe", "commit", "valid", *(f"{half} (n={len(r):,})" for half, r in masks[0].items()))
    return "\n\n".join([aligned([head, *map(table_row, entries)]), *against_newest(entries)])


def table_row(entry: Entry) -> tuple[str, ...]:
    """The entry in the table; accuracies in percent."""
    code, ensemble = entry.run.code, entry.run.ensemble
    commit = code.commit + ("+" if code.dirty else "")
    valid = f"{100 * ensemble.valid_accuracy:.2f}" if ensemble else "-"
    accuracies = (f"{100 * right.mean():.2f}" for right in entry.correct.values())
    return (entry.name, entry.run.recipe["name"], commit, valid, *accuracies)


def against_newest(entries: list[Entry]) -> list[str]:
    """For each half of the test data, a table of the newest submission against every other one."""
    newest, tables = entries[-1], []
    for half, right in newest.correct.items() if len(entries) > 1 else ():
        lines = [(f"{newest.name} against, {half}", "points", "95 %", f"only {newest.name}", "only the other", "p")]
        for other in entries[:-1]:
            pair = compare_pair(right, other.correct[half])
            points = f"{100 * pair.difference:+.2f}", f"± {100 * pair.half_width:.2f}"
            lines.append((other.name, *points, str(pair.only_first), str(pair.only_second), p_value(pair.p)))
        tables.append(aligned(lines))
    return tables
