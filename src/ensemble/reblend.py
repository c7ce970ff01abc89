"""Blends the members of finished runs again, from their predictions files."""

from pathlib import Path

from src.data import competition
from src.ensemble.blend import mean_blend
from src.ensemble.predictions import load_predictions, save_predictions
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
    data, files = competition.read_competition(source), []
    for folder in runs:
        files += (found := sorted((folder / "predictions").glob("*.npz")))
        if not found:
            raise UserError(f"{folder}: no predictions/*.npz there; name the folder of a run")
    blended = BLENDS[blend]([load_predictions(file, data.digest, len(data.test)) for file in files])
    rows = blended.valid_rows
    if len(rows) and rows[-1] >= len(data.train):
        raise UserError(f"validation row {rows[-1]} is predicted; the training data has {len(data.train):,} rows")
    if (output / "run.json").exists():
        raise UserError(f"{output} holds a run. Give another --output.")
    (output / "predictions").mkdir(parents=True, exist_ok=True)
    save_predictions(output / "predictions" / "blend.npz", blended)
    write_submission(output / "submission.csv", blended.test.argmax(1), data.example, form)
    right = blended.valid.argmax(1) == data.train.labels[rows]
    accuracy = f"{100 * right.mean():.2f} % of {len(rows):,} validation rows" if len(rows) else "no validation rows"
    return f"{blend} of {len(files)}: {accuracy}; {output / 'submission.csv'}"
