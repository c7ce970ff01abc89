"""Out-of-fold predictions: writes oof.csv, and reads what earlier runs predicted as targets for another training.

A run's folder, a predictions file, or an oof.csv with the columns row, label, fold and the seven class names. Where a
folder has no oof.csv, its predictions files are joined; a row that several members predicted gets their mean.

Limit: 16 MB of CSV text; 28,709 rows have 2 MB.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from src.bounded_io import read_bytes
from src.data.competition import Competition
from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.ensemble.blend import blend
from src.ensemble.predictions import Predictions, load_predictions
from src.errors import UserError
from src.files import replacing

COLUMNS = ("row", "label", "fold", *CLASS_NAMES)
LIMIT = 16_000_000  # bytes
ADVICE = "Name a run's folder, its oof.csv, or a predictions file of this kit."


def read_out_of_fold(path: Path, data: Competition) -> np.ndarray:
    """Probabilities for each training row, float32 (n, 7); a row that nobody predicted has nan.

    Raises UserError for a path without predictions, and for predictions of other data.
    """
    csv = path / "oof.csv" if path.is_dir() else path
    if csv.suffix == ".csv" and csv.exists():
        rows, probabilities = read_csv(csv, data)
    else:
        blended = read_blend(path, data)
        rows, probabilities = blended.valid_rows, blended.valid
    if len(rows) and rows.max() >= len(data.train):
        raise UserError(f"{path}: predicts row {rows.max()}; the training data has {len(data.train):,} rows")
    found = np.full((len(data.train), NUM_CLASSES), np.nan, np.float32)
    found[rows] = probabilities
    return found


def read_blend(path: Path, data: Competition) -> Predictions:
    """The mean of the predictions files of a run's folder, or one file; UserError where there is none."""
    files = sorted((path / "predictions").glob("*.npz")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UserError(f"{path}: no predictions there.\n{ADVICE}")
    return blend([load_predictions(file, data.digest, len(data.test)) for file in files])


def write_csv(path: Path, blended: Predictions, labels: np.ndarray, folds: np.ndarray) -> None:
    """Writes the validation rows of a blend, with the label and the fold of each, int64 (n,) of all training rows."""
    rows = blended.valid_rows
    table = pd.DataFrame({"row": rows, "label": labels[rows], "fold": folds[rows]})
    for number, name in enumerate(CLASS_NAMES):
        table[name] = blended.valid[:, number]
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.7g")


def read_csv(path: Path, data: Competition) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers int64 (n,) and probabilities float32 (n, 7) of an oof.csv.

    Raises UserError for other columns or values, repeated rows, and labels that are not those of the training data.
    """
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(path, LIMIT, ADVICE)), usecols=list(COLUMNS))
        rows, labels = (table[key].to_numpy().astype(np.int64, casting="safe") for key in ("row", "label"))
        probabilities = table[list(CLASS_NAMES)].to_numpy(np.float32)
    except (ValueError, TypeError, pd.errors.ParserError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: no out-of-fold predictions of this kit ({reason}).\n{ADVICE}") from None
    wrong = (rows < 0) | pd.Series(rows).duplicated().to_numpy()
    known = data.train.labels[np.clip(rows, 0, len(data.train) - 1)]
    wrong |= ~np.isfinite(probabilities).all(1) | (probabilities < 0).any(1) | (abs(probabilities.sum(1) - 1) > 1e-3)
    if wrong.any():
        raise UserError(f"{path}: line {wrong.argmax() + 2}: a repeated row, or no probabilities.\n{ADVICE}")
    if (labels != known).any():
        first = (labels != known).argmax()
        raise UserError(f"{path}: row {rows[first]} has label {labels[first]}; the data has {known[first]}: other data")
    return rows, probabilities
