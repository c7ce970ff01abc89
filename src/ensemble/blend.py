"""Combines the probabilities of several members into one.

A method takes aligned probabilities, float (m, n, 7) of m members for the same n rows, NaN where a member did not
predict a row, and returns probabilities (n, 7).
"""

from collections.abc import Callable

import numpy as np

from src.dataset import NUM_CLASSES
from src.ensemble.predictions import Predictions
from src.errors import UserError

Method = Callable[[np.ndarray], np.ndarray]


def mean(probs: np.ndarray) -> np.ndarray:
    """The mean of the members that predicted a row."""
    return np.nanmean(probs, axis=0)


# The names that `ensemble --blend` takes.
METHODS: dict[str, Method] = {"mean": mean}


def blend(members: list[Predictions], method: Method = mean) -> Predictions:
    """The members' predictions combined by the method, row by row.

    Members of different folds have different validation rows; the blend has all of them. The header keeps the values
    that all members share. Raises UserError for no member, for different data, and for different numbers of test rows.
    """
    require_one_data_set(members)
    headers = [member.header for member in members]
    shared = {key: value for key, value in headers[0].items() if all(h.get(key) == value for h in headers)}
    header = shared | {"member": "+".join(header["member"] for header in headers)}
    rows, valid = align_valid(members)
    test = np.stack([member.test for member in members]).astype(np.float64)
    return Predictions(header, rows, method(valid).astype(np.float32), method(test).astype(np.float32))


def require_one_data_set(members: list[Predictions]) -> None:
    """Raises UserError unless there are members, all of the same data."""
    if not members:
        raise UserError("nothing to blend: no member has finished")
    digests, counts = {m.header["data_digest"] for m in members}, {str(len(m.test)) for m in members}
    for name, values in (("data", digests), ("number of test rows", counts)):
        if len(values) > 1:
            raise UserError(f"these members cannot be blended: their {name} differs ({', '.join(sorted(values))})")


def align_valid(members: list[Predictions]) -> tuple[np.ndarray, np.ndarray]:
    """The rows that any member predicted, int64 (v,) ascending, and the probabilities float64 (m, v, 7), else NaN."""
    rows = np.unique(np.concatenate([member.valid_rows for member in members]))
    probs = np.full((len(members), len(rows), NUM_CLASSES), np.nan)
    for number, member in enumerate(members):
        probs[number, np.searchsorted(rows, member.valid_rows)] = member.valid
    return rows, probs
