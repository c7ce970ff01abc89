"""Finished runs blended anew, from their predictions files."""

from pathlib import Path

from src.data import competition
from src.ensemble import blend, predictions
from src.errors import UserError
from src.submit import write


def reblend(runs: list[Path], source: Path, output: Path, form: str = "auto") -> str:
    """Blends all members of finished runs anew into `output`/submission.csv; returns a line that says what it reaches.

    Raises UserError for a folder without predictions, and for predictions from other data than that below `source`.
    """
    data = competition.read(source)
    files = [file for folder in runs for file in found(folder)]
    blended = blend.mean([predictions.load(file, data.digest, len(data.test)) for file in files])
    output.mkdir(parents=True, exist_ok=True)
    write.write(output / "submission.csv", blended.test.argmax(1), data.example, form)
    accuracy = (blended.valid.argmax(1) == data.train.labels[blended.valid_rows]).mean()
    rows = len(blended.valid_rows)
    return f"mean of {len(files)}: {100 * accuracy:.2f} % of {rows:,} validation rows; {output / 'submission.csv'}"


def found(folder: Path) -> list[Path]:
    """The predictions files of a run; UserError where there are none."""
    files = sorted((folder / "predictions").glob("*.npz"))
    if not files:
        raise UserError(f"{folder}: no predictions/*.npz there; name the folder of a run")
    return files
