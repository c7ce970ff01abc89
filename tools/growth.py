"""How the accuracy of a mean grows with the number of its members.

    python -m tools.growth RUN --input DIR

For each number k it takes the means of k members, of all choices of k or of 200 random ones, and prints the average of
their accuracies and the standard deviation among them, in per cent. On PublicTest a member of a run is a network on one
fold. On validation rows it is a network on all folds, none of which had learnt the rows that it predicts; these rows
chose each member's best epoch. In a blend the folds are joined already. Look at PublicTest; do not choose by it.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path
from typing import NamedTuple

from src.terminal import accept_any_character, announce_loading, run_command

if __name__ == "__main__":
    accept_any_character()
    announce_loading("torch")  # before the imports that take seconds

import numpy as np

from src.command_line import path
from src.data.competition import read_competition
from src.ensemble.blend import align_valid, stack_test
from src.ensemble.merging import merge_folds
from src.errors import UserError
from src.run.run_folder import RunFolder
from src.submit.score import PUBLIC, USAGES, labels_by_usage
from tools.record import read_finished, read_predictions

COMMAND = "python -m tools.growth"
MAX_CHOICES = 200


class Growth(NamedTuple):
    """Means of k members: the average of their accuracies, 0-1, and the standard deviation among the choices."""

    k: int
    choices: int
    accuracy: float
    deviation: float


def growth(probabilities: np.ndarray, labels: np.ndarray) -> list[Growth]:
    """The accuracies of means of 1 to m members.

    probabilities: (m, n, 7); labels: int64 (n,).
    """
    return [accuracy_of(k, probabilities, labels) for k in range(1, len(probabilities) + 1)]


def accuracy_of(k: int, probabilities: np.ndarray, labels: np.ndarray) -> Growth:
    """The accuracies of means of k members; arguments as in `growth`."""
    chosen = choices(len(probabilities), k)
    found = [(probabilities[list(one)].mean(0).argmax(1) == labels).mean() for one in chosen]
    return Growth(k, len(found), float(np.mean(found)), float(np.std(found)))


def choices(count: int, k: int) -> list[tuple[int, ...]]:
    """All choices of k of `count` numbers, or MAX_CHOICES random ones, the same each time."""
    if math.comb(count, k) <= MAX_CHOICES:
        return list(itertools.combinations(range(count), k))
    rng = np.random.default_rng(k)
    return [tuple(rng.choice(count, k, replace=False)) for _ in range(MAX_CHOICES)]


def table(title: str, rows: list[Growth]) -> str:
    """The rows as text, under a title."""
    lines = [title, "members  choices  accuracy, %"]
    lines += [f"{one.k:7}  {one.choices:7}  {100 * one.accuracy:.2f} ± {100 * one.deviation:.2f}" for one in rows]
    return "\n".join(lines)


def tables(run: Path, source: Path) -> str:
    """The text of the command.

    Raises UserError for a run that is not finished or has other data than `source`, and where nothing can be counted.
    """
    folder, data = RunFolder(run), read_competition(source)
    members, _ = read_predictions(folder, read_finished(folder), data)
    shown = []
    rows, valid = align_valid(merge_folds(members))
    if len(rows) and not np.isnan(valid).any():  # of different folds they have no rows in common
        shown.append(table(f"validation, {len(rows):,} rows", growth(valid, data.train.labels[rows])))
    if (public := labels_by_usage(source, data).get(USAGES[PUBLIC])) is not None:
        known = public >= 0
        shown.append(table(f"PublicTest, {known.sum():,} rows", growth(stack_test(members)[:, known], public[known])))
    if not shown:
        raise UserError(f"{run}: the members share no validation rows, and {source} has no labels of PublicTest")
    return "\n\n".join(shown)


def main(argv: list[str]) -> int:
    """The command line; exit code 0, or 2 for the user's error."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.split("\n")[0])
    parser.add_argument("run", type=path, metavar="RUN", help="folder of a finished run, or of a blend")
    parser.add_argument("--input", type=path, default=Path("input"), metavar="DIR", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    try:
        print(tables(arguments.run, arguments.input))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
