"""near_copies.csv: which training images a test image nearly copies, with the correlation of the aligned pixels.

Columns test_row and train_row, counted from 0, and correlation.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from src.bounded_io import read_bytes
from src.ensemble.near_copies import NearCopies
from src.errors import UserError
from src.files import replacing

LIMIT = 16_000_000  # bytes; FER2013 has 0.1 million
ADVICE = "Make the run or the blend again, in another --output."

_COLUMNS = {"test_row": np.int64, "train_row": np.int64, "correlation": np.float32}


def write_near_copies(path: Path, found: NearCopies) -> None:
    """Writes the file under a temporary name, then renames it."""
    columns = (found.test_rows, found.train_rows, found.correlation)
    table = pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True)))
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")


def read_near_copies(path: Path, train: int, test: int) -> NearCopies:
    """Reads the file; UserError for other columns or values. train, test: how many images there are."""
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(path, LIMIT, ADVICE)), usecols=list(_COLUMNS), dtype=_COLUMNS)
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: no near copies of this kit ({str(error).splitlines()[0]}).\n{ADVICE}") from None
    test_rows, train_rows, correlation = (table[key].to_numpy() for key in _COLUMNS)
    wrong = (test_rows < 0) | (test_rows >= test) | (train_rows < 0) | (train_rows >= train)
    if wrong.any():
        raise UserError(f"{path}: line {wrong.argmax() + 2}: a row that the data does not have.\n{ADVICE}")
    return NearCopies(test_rows, train_rows, correlation)
