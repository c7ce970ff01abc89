"""The file in which training and ensemble meet: one member's class probabilities, with its papers.

Anything that writes this file can join an ensemble. It is an .npz with `rows` int64 (n,), `split` ("valid" or "test"),
`probs` float32 (n, 7) and `header`, a JSON text that holds at least the keys of HEADER.

Bound: 16 MB of file, and 32 MB of arrays, in which 570,000 rows find place; reading takes four times as much memory at
most. Whatever a file says of its own sizes is compared with what is there before any memory is asked for.
"""

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.dataset import NUM_CLASSES
from src.errors import UserError
from src.files import replacing
from src.untrusted import parse_json, read_bytes, unzip

HEADER = ("recipe", "member", "recipe_digest", "source_digest", "data_digest", "seed", "fold", "device", "seconds")

_FILE_LIMIT = 16_000_000  # bytes: 35,887 validation rows and 7,178 test rows have 2.4 million
_ARRAY_LIMIT = 32_000_000  # bytes of all four arrays
_ARRAYS = ("rows", "split", "probs", "header")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class Predictions:
    """Probabilities for validation rows (numbered as in the training data) and test rows (as in test.csv).

    valid_rows int64 (v,) ascending, valid float32 (v, 7), test float32 (t, 7) in test.csv's order.
    """

    header: dict
    valid_rows: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def save(path: Path, predictions: Predictions) -> None:
    """Writes the file under a temporary name, then renames it. Raises UserError for what a reader would refuse."""
    tests = np.arange(len(predictions.test))
    content = {
        "rows": np.concatenate([predictions.valid_rows, tests]).astype(np.int64),
        "split": np.array(["valid"] * len(predictions.valid_rows) + ["test"] * len(tests)),
        "probs": np.concatenate([predictions.valid, predictions.test]).astype(np.float32),
        "header": np.array(json.dumps(predictions.header)),
    }
    check(content, predictions.header, str(path))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **content)


def load(path: Path, data_digest: str | None = None, test_rows: int | None = None) -> Predictions:
    """The predictions in a file, sorted by row.

    Raises UserError for a file that is damaged, that has rows missing or doubled, that is for other data than
    `data_digest`, or for another number of test rows than `test_rows`. No pickled object is ever loaded.
    """
    content = read(path)
    try:
        header = parse_json(str(content["header"]))
    except ValueError as error:
        raise UserError(f"{path}: the header is not JSON ({error}); not a predictions file of this kit") from None
    check(content, header, str(path))
    if data_digest and header["data_digest"] != data_digest:
        raise UserError(f"{path}: made from other data (digest {header['data_digest']}, here {data_digest})")
    rows, is_test = content["rows"], content["split"] == "test"
    if test_rows is not None and is_test.sum() != test_rows:
        raise UserError(f"{path}: {is_test.sum()} test rows, and the test data has {test_rows}")
    order = np.argsort(rows, kind="stable")
    valid, test = order[~is_test[order]], order[is_test[order]]
    return Predictions(header, rows[valid], content["probs"][valid], content["probs"][test])


def read(path: Path) -> dict:
    """The four arrays of the file, read-only; UserError where they are not all there, or there is too much."""
    content = read_bytes(path, _FILE_LIMIT, "Name a predictions file of this kit, or train its member again.")
    try:
        members = unzip(content, {f"{key}.npy" for key in _ARRAYS}.__contains__, _ARRAY_LIMIT)
        return {key: _array(members[f"{key}.npy"]) for key in _ARRAYS}
    except Exception as error:  # damaged bytes raise a dozen kinds in tokenize, ast and numpy
        raise UserError(f"{path}: not a predictions file, or damaged ({error})") from None


def _array(content: bytes) -> np.ndarray:
    """The array of an .npy file. ValueError where its header claims other than what is there, or pickled objects.

    Elements of no size are refused too: numpy 2.0 divides by it, and the process is gone without a word.
    """
    stream = io.BytesIO(content)
    shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    claimed, there = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
    if dtype.hasobject or not dtype.itemsize or claimed != there:
        what = "pickled objects" if dtype.hasobject else f"{claimed:,} bytes"
        raise ValueError(f"an array claims {what}, and {there:,} bytes are there")
    return np.ndarray(shape, dtype, content, stream.tell(), order="F" if fortran else "C")


def check(content: dict, header: dict, where: str) -> None:
    """Raise UserError unless the arrays fit each other and the contract."""
    rows, split, probs = content["rows"], content["split"], content["probs"]
    missing = [key for key in HEADER if key not in header] if isinstance(header, dict) else list(HEADER)
    if missing or not all(isinstance(header[key], str) for key in ("member", "data_digest")):
        raise UserError(f"{where}: the header lacks {', '.join(missing) or 'texts for member and data_digest'}")
    if (
        rows.ndim != 1
        or rows.dtype != np.int64
        or split.dtype.kind != "U"
        or probs.dtype != np.float32
        or probs.shape != (len(rows), NUM_CLASSES)
        or split.shape != rows.shape
    ):
        raise UserError(
            f"{where}: rows {rows.dtype} {rows.shape}, split {split.dtype} {split.shape}, "
            f"probs {probs.dtype} {probs.shape} do not fit the contract"
        )
    if not set(np.unique(split)) <= {"valid", "test"}:
        raise UserError(
            f"{where}: split must be valid or test, not {sorted(set(np.unique(split)) - {'valid', 'test'})}"
        )
    check_rows(rows[split == "valid"], rows[split == "test"], where)
    wrong = ~np.isfinite(probs).all(1) | (np.abs(probs.sum(1) - 1) > 1e-3) | (probs < 0).any(1)
    if wrong.any():
        at = int(wrong.argmax())
        raise UserError(f"{where}: {split[at]} row {rows[at]} does not hold probabilities: {probs[at]}")


def check_rows(valid: np.ndarray, test: np.ndarray, where: str) -> None:
    """Raise UserError for doubled rows, for negative ones, and for test rows that are not 0 … n - 1."""
    for name, rows in (("valid", valid), ("test", test)):
        different, counts = np.unique(rows, return_counts=True)
        if (counts > 1).any():
            raise UserError(f"{where}: {name} row {different[counts > 1][0]} is there twice")
        if len(rows) and rows.min() < 0:
            raise UserError(f"{where}: {name} row {rows.min()} is negative")
    missing = np.setdiff1d(np.arange(len(test)), test)
    if len(missing):
        raise UserError(f"{where}: test row {missing[0]} is missing")
