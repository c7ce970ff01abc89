"""The final private leaderboard of 2013, and the place of an accuracy on it.

The ten best teams are listed here. A CSV from `kaggle competitions leaderboard --download` has all teams.
"""

from dataclasses import dataclass
from pathlib import Path

from src.csv_cells import quote, read_cells
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

_ADVICE = "Give the CSV of `kaggle competitions leaderboard --download`."


@dataclass(frozen=True)
class Leaderboard:
    """Teams with their accuracies (0-1), best first. `teams` is the number of all teams; `entries` may be the best."""

    entries: tuple[tuple[str, float], ...]
    teams: int
    source: str

    @property
    def is_final(self) -> bool:
        """Whether its ten best scores are those of the final private leaderboard. A public one has others."""
        return [score for _, score in self.entries[:10]] == [score for _, score in TOP_TEN]


@dataclass(frozen=True)
class Place:
    """`place` counts from 1; None means below the last known entry. `words` names the neighbours and their scores."""

    place: int | None
    teams: int
    words: str
    source: str


KNOWN = Leaderboard(TOP_TEN, TEAMS, "the ten best teams of the final private leaderboard")


def read_leaderboard(path: str | Path) -> Leaderboard:
    """A downloaded leaderboard: a CSV with the columns TeamName and Score, or a zip with one CSV; at most 2 MB.

    Raises UserError for any other file and for a score that is not an accuracy from 0 to 1.
    """
    path = Path(path)
    header, *rows = read_cells(path, _ADVICE)
    absent = [name for name in ("TeamName", "Score") if name not in header]
    if absent or not rows:
        raise UserError(f"{path.name} has {f'no column {absent[0]}' if absent else 'no rows'}. {_ADVICE}")
    team, score, entries = header.index("TeamName"), header.index("Score"), []
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise UserError(f"{path.name}, row {number}: {len(row)} columns; the header has {len(header)}. {_ADVICE}")
        entries.append((row[team], _accuracy(row[score], f"{path.name}, row {number}")))
    entries.sort(key=lambda entry: -entry[1])  # stable: teams with equal scores keep the file's order
    return Leaderboard(tuple(entries), len(entries), path.name)


def place_on(ranking: Leaderboard, accuracy: float) -> Place:
    """The place of an accuracy (0-1). Scores have five decimals; of equal scores the listed team is ahead."""
    names = [f"{team} {100 * score:.3f} %" for team, score in ranking.entries]
    ahead = sum(score >= round(accuracy, 5) for _, score in ranking.entries)
    if ahead < len(names):
        words = f"place {ahead + 1} of {ranking.teams}: above {names[ahead]}"
        words += f", below {names[ahead - 1]}" if ahead else ""
        return Place(ahead + 1, ranking.teams, words, ranking.source)
    words = f"below the {ahead} best of {ranking.teams} teams" if ranking.teams > ahead else f"below all {ahead} teams"
    return Place(None, ranking.teams, words, ranking.source)


def _accuracy(cell: str, where: str) -> float:
    try:
        score = float(cell)
    except ValueError:
        score = float("nan")
    if not 0 <= score <= 1:
        raise UserError(f"{where}: the score is {quote(cell)}. Scores are accuracies from 0 to 1.")
    return score
