"""The final private leaderboard of 2013, and the place that an accuracy would have taken on it.

The ten best are known here; a CSV from `kaggle competitions leaderboard --download` gives the other teams.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from src.csv_cells import LIMIT, parse_cells, shown
from src.data.competition import find
from src.errors import UserError
from src.untrusted import read_bytes, unzip

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

_GIVE = "Give the CSV of `kaggle competitions leaderboard --download`."
_SCORE = re.compile(r"([0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})(e-?[0-9]{1,3})?", re.ASCII | re.IGNORECASE)


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
    every = find(Path(folder)).every if Path(folder).is_dir() else []
    found = sorted(file for file in every if "leaderboard" in file.name and file.name.endswith(".csv"))
    return read(found[-1]) if found else KNOWN


def read(path: str | Path) -> Leaderboard:
    """A downloaded board, CSV or the zip around it, with the columns TeamName and Score; UserError as in `load`.

    Bound: 2 MB, also after unzipping.
    """
    path = Path(path)
    content = read_bytes(path, LIMIT, _GIVE)
    header, *rows = parse_cells(_unzipped(content, path) if content.startswith(b"PK") else content, path.name)
    absent = [name for name in ("TeamName", "Score") if name not in header]
    if absent or not rows:
        what = f"no column {absent[0]}" if absent else "no rows"
        raise UserError(f"{path.name} has {what}. {_GIVE}")
    team, score = header.index("TeamName"), header.index("Score")
    entries = [(row[team], _accuracy(row[score], n, path)) for n, row in _even(rows, len(header), path)]
    entries.sort(key=lambda entry: -entry[1])  # a tie stays in the file's order
    return Leaderboard(tuple(entries), len(entries), path.name)


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


def _unzipped(content: bytes, path: Path) -> bytes:
    try:
        (table,) = unzip(content, lambda name: name.endswith(".csv"), LIMIT).values()
    except ValueError as bad:
        raise UserError(f"{path}: cannot be read as a zip with one CSV file ({bad}).\n{_GIVE}") from bad
    return table


def _even(rows: list[tuple[str, ...]], width: int, path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The rows with their numbers from 1, each found as wide as the header."""
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise UserError(f"{path.name}, row {number}: {len(row)} columns, where the header has {width}. {_GIVE}")
        yield number, row


def _accuracy(cell: str, row: int, path: Path) -> float:
    if not _SCORE.fullmatch(cell) or not 0 <= float(cell) <= 1:
        raise UserError(f"{path.name}, row {row}: the score is {shown(cell)}. Scores are accuracies from 0 to 1.")
    return float(cell)
