"""Blends the members of finished runs again, from their predictions files."""

from pathlib import Path

import numpy as np

from src.data import competition
from src.ensemble.blend import mean_blend
from src.ensemble.predictions import Predictions, load_predictions, save_predictions
from src.errors import UserError
from src.submit.write import write_submission

# The names that `ensemble --blend` takes.
BLENDS = {"mean": mean_blend}


def blend_runs(runs: list[Path], source: Path, output: Path, form: str = "auto", blend: str = "mean") -> str:
    """Blends all members of finished runs and returns a line with the validation accuracy.

    source: the folder of the competition's files. output: receives submission.csv and predictions/blend.npz, so that
    `output` can itself be given as a run. Raises UserError for an unknown blend, a folder without predictions,
    predictions of other data than that in `source`, and an `output` that holds a run.
    """
    if blend not in BLENDS:
        raise UserError(f"--blend {blend}: choose one of {', '.join(BLENDS)}")
    data = competition.read_competition(source)
    files = [file for folder in runs for file in prediction_files(folder)]
    blended = BLENDS[blend]([load_predictions(file, data.digest, len(data.test)) for file in files])
    accuracy = _valid_accuracy(blended, data.train.labels)
    _make_output(output)
    save_predictions(output / "predictions" / "blend.npz", blended)
    write_submission(output / "submission.csv", blended.test.argmax(1), data.example, form)
    rows = len(blended.valid_rows)
    return f"{blend} of {len(files)}: {100 * accuracy:.2f} % of {rows:,} validation rows; {output / 'submission.csv'}"


def prediction_files(folder: Path) -> list[Path]:
    """The predictions files of a run, sorted by name; UserError if there are none."""
    files = sorted((folder / "predictions").glob("*.npz"))
    if not files:
        raise UserError(f"{folder}: no predictions/*.npz there; name the folder of a run")
    return files


def _valid_accuracy(blended: Predictions, labels: np.ndarray) -> float:
    rows = blended.valid_rows
    if len(rows) and rows[-1] >= len(labels):
        raise UserError(f"{blended.header['member']}: validation row {rows[-1]}; the training data has {len(labels):,}")
    return float((blended.valid.argmax(1) == labels[rows]).mean()) if len(rows) else float("nan")


def _make_output(output: Path) -> None:
    if (output / "run.json").exists():
        raise UserError(f"{output} holds a run. Give another --output.")
    (output / "predictions").mkdir(parents=True, exist_ok=True)
