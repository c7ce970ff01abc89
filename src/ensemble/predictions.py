"""The predictions file: class probabilities of one member or of a blend. Training and ensemble meet only through it.

Any program that writes this file can join an ensemble. It is an .npz without pickled objects:

    classes  str (7,)         the class names, in the order of the columns of probs
    rows     int64 (n,)       row of the training data (split valid) or of test.csv (split test), counted from 0
    split    str (n,)         "valid" or "test"
    probs    float32 (n, 7)   probabilities; each row sums to 1
    header   str ()           a JSON object with at least the texts `member` and `data_digest`

Limits: 16 MB of file and 32 MB of arrays, which hold 470,000 rows. FER2013's 35,887 rows take 1 MB.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.bounded_io import parse_json, read_bytes, unzip
from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.errors import UserError
from src.files import replacing

REQUIRED_HEADER = ("member", "data_digest")

_FILE_LIMIT = 16_000_000  # bytes
_ARRAY_LIMIT = 32_000_000  # bytes of all arrays
_ARRAYS = ("classes", "rows", "split", "probs", "header")


@dataclass(frozen=True)
class Predictions:
    """Probabilities for validation rows (numbered as in the training data) and for test rows (in test.csv's order).

    valid_rows int64 (v,) ascending, valid float32 (v, 7), test float32 (t, 7).
    """

    header: dict
    valid_rows: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Writes the file under a temporary name, then renames it. Raises UserError for what `load_predictions` refuses."""
    test_rows = np.arange(len(predictions.test))
    content = {
        "classes": np.array(CLASS_NAMES),
        "rows": np.concatenate([predictions.valid_rows, test_rows]).astype(np.int64),
        "split": np.array(["valid"] * len(predictions.valid_rows) + ["test"] * len(test_rows)),
        "probs": np.concatenate([predictions.valid, predictions.test]).astype(np.float32),
        "header": np.array(json.dumps(predictions.header)),
    }
    _validate(content, predictions.header, path)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **content)


def load_predictions(path: Path, data_digest: str | None = None, test_rows: int | None = None) -> Predictions:
    """The predictions in a file, sorted by row. No pickled object is loaded.

    Raises UserError for a damaged file, for missing or repeated rows, for data other than `data_digest`, and for a
    number of test rows other than `test_rows`.
    """
    content = read_bytes(path, _FILE_LIMIT, "Name a predictions file of this kit, or train its member again.")
    try:
        files = unzip(content, {f"{key}.npy" for key in _ARRAYS}.__contains__, _ARRAY_LIMIT)
        arrays = {key: io.BytesIO(files[f"{key}.npy"]) for key in _ARRAYS}
        content = {key: np.lib.format.read_array(array, allow_pickle=False) for key, array in arrays.items()}
        header = parse_json(str(content["header"]))
    except Exception as error:  # numpy and ast raise a dozen kinds for damaged bytes
        raise UserError(f"{path}: not a predictions file, or damaged ({error})") from None
    _validate(content, header, path)
    if data_digest and header["data_digest"] != data_digest:
        raise UserError(f"{path}: made from other data (digest {header['data_digest']}, here {data_digest})")
    rows, is_test = content["rows"], content["split"] == "test"
    if test_rows is not None and is_test.sum() != test_rows:
        raise UserError(f"{path}: {is_test.sum()} test rows; the test data has {test_rows}")
    order = np.argsort(rows, kind="stable")
    valid, test = order[~is_test[order]], order[is_test[order]]
    return Predictions(header, rows[valid], content["probs"][valid], content["probs"][test])


def _validate(content: dict, header: object, path: Path) -> None:
    """Raises UserError unless header and arrays keep the contract of the module's docstring."""
    texts = header if isinstance(header, dict) else {}
    absent = [key for key in REQUIRED_HEADER if not isinstance(texts.get(key), str)]
    if absent:
        raise UserError(f"{path}: the header lacks the text {' and the text '.join(absent)}")
    classes, rows, split, probs = (content[key] for key in _ARRAYS[:4])
    if not np.array_equal(classes, np.array(CLASS_NAMES)):
        raise UserError(f"{path}: other classes than {', '.join(CLASS_NAMES)}, or another order")
    types = rows.dtype == np.int64 and split.dtype.kind == "U" and probs.dtype == np.float32
    if not types or rows.ndim != 1 or split.shape != rows.shape or probs.shape != (len(rows), NUM_CLASSES):
        shapes = ", ".join(f"{key} {content[key].dtype} {content[key].shape}" for key in _ARRAYS[1:4])
        raise UserError(f"{path}: {shapes}; expected rows int64 (n,), split text (n,), probs float32 (n, 7)")
    unknown = ~np.isin(split, ("valid", "test"))
    if unknown.any():
        raise UserError(f"{path}: split must be valid or test; entry {unknown.argmax()} is neither")
    valid, test = (np.sort(rows[split == name]) for name in ("valid", "test"))
    wrong = np.diff(valid, prepend=-1) < 1
    if wrong.any():
        raise UserError(f"{path}: valid row {valid[wrong.argmax()]} is negative or occurs twice")
    wrong = test != np.arange(len(test))
    if wrong.any():
        raise UserError(f"{path}: test row {wrong.argmax()} is missing, or the one before it occurs twice")
    wrong = ~np.isfinite(probs).all(1) | (np.abs(probs.sum(1) - 1) > 1e-3) | (probs < 0).any(1)
    if wrong.any():
        first = int(wrong.argmax())
        raise UserError(f"{path}: {split[first]} row {rows[first]} does not hold probabilities: {probs[first]}")
