"""The final private leaderboard of 2013, and the place that an accuracy would have taken on it.

The ten best are known here; a CSV from `kaggle competitions leaderboard --download` gives the other teams.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from src.errors import UserError

TEAMS = 56
TOP_TEN = (
    ("RBM", 0.71161),
    ("Unsupervised", 0.69267),
    ("Maxim Milakov", 0.68821),
    ("Radu+Marius+Cristi", 0.67483),
    ("Lor.Voldy", 0.65254),
    ("ryank", 0.65087),
    ("Eric Cartman", 0.64474),
    ("Xavier Bouthillier", 0.64224),
    ("Alejandro Dubrovsky", 0.63109),
    ("sayit", 0.6219),
)


@dataclass(frozen=True)
class Leaderboard:
    """Teams with their accuracies (0-1), best first; `teams` took part, of which `entries` may be the best only."""

    entries: tuple[tuple[str, float], ...]
    teams: int
    source: str

    @property
    def is_the_final_one(self) -> bool:
        """Whether its best scores are those known of the final private board; a public board has others."""
        return [score for _, score in self.entries[:10]] == [score for _, score in TOP_TEN]


@dataclass(frozen=True)
class Place:
    """`place` counts from 1 and is None below the last entry known; `words` says it with the neighbours' scores."""

    place: int | None
    teams: int
    words: str
    source: str


KNOWN = Leaderboard(TOP_TEN, TEAMS, "the ten best known of the final private leaderboard")


def load(path: str | Path | None, folder: str | Path) -> Leaderboard:
    """The board in `path`; or else in a *leaderboard*.csv under `folder`; or else the ten places known.

    UserError: the file is no table with the columns TeamName and Score, or a score is no accuracy from 0 to 1.
    """
    if path is not None:
        return read(path)
    # A download's name ends in its date, so the last name is the newest one.
    found = sorted(file for file in Path(folder).rglob("*leaderboard*.csv") if file.is_file())
    return read(found[-1]) if found else KNOWN


def read(path: str | Path) -> Leaderboard:
    """A downloaded board, CSV or the zip around it, with the columns TeamName and Score; UserError as in `load`."""
    path = Path(path)
    try:
        table = pd.read_csv(path, encoding="utf-8-sig", keep_default_na=False)
    except (OSError, ValueError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a leaderboard: {error}\nGive the CSV of the download.") from error
    absent = [name for name in ("TeamName", "Score") if name not in table]
    if absent or table.empty:
        what = f"no column {absent[0]}" if absent else "no rows"
        raise UserError(f"{path.name} has {what}. Give the CSV of `kaggle competitions leaderboard --download`.")
    names, scores = table["TeamName"].astype(str), _accuracies(table["Score"], path)
    best_first = np.argsort(-scores, kind="stable")
    entries = tuple((names[row], float(scores[row])) for row in best_first)
    return Leaderboard(entries, len(entries), path.name)


def place(board: Leaderboard, accuracy: float) -> Place:
    """Where `accuracy` (0-1) would have stood. The board has five decimals; a tie goes to the team there first."""
    accuracy = round(accuracy, 5)
    ahead = sum(score >= accuracy for _, score in board.entries)
    if ahead < len(board.entries):
        return Place(
            ahead + 1, board.teams, f"place {ahead + 1} of {board.teams}{_neighbours(board, ahead)}", board.source
        )
    if board.teams > ahead:
        known = "ten" if ahead == 10 else f"{ahead}"
        return Place(None, board.teams, f"below the {known} places known, of {board.teams} teams", board.source)
    return Place(None, board.teams, f"below all {board.teams} teams", board.source)


def _neighbours(board: Leaderboard, ahead: int) -> str:
    after = "above {} {:.5f}".format(*board.entries[ahead])
    before = ", below {} {:.5f}".format(*board.entries[ahead - 1]) if ahead else ""
    return f": {after}{before}"


def _accuracies(column: pd.Series, path: Path) -> np.ndarray:
    scores = pd.to_numeric(column, errors="coerce").to_numpy(float)
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"{path.name}, row {row + 1}: the score is {column.iloc[row]!r}. Scores are accuracies from 0 to 1."
        )
    return scores
