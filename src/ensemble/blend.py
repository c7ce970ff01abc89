"""Combines the probabilities of several members into one."""

import numpy as np

from src.dataset import NUM_CLASSES
from src.ensemble.predictions import Predictions
from src.errors import UserError


def mean_blend(members: list[Predictions]) -> Predictions:
    """The mean of the members' probabilities. A validation row gets the mean of those members that predicted it.

    Members of different folds have different validation rows; the blend has all of them. The header keeps the values
    that all members share. Raises UserError for no member, for different data, and for different numbers of test rows.
    """
    _check_compatible(members)
    rows, valid = mean_by_row(members)
    test = np.mean([m.test for m in members], axis=0, dtype=np.float32)
    return Predictions(_blend_header([m.header for m in members]), rows, valid, test)


def mean_by_row(members: list[Predictions]) -> tuple[np.ndarray, np.ndarray]:
    """All validation rows, int64 (v,) ascending, and the mean of the probabilities for each, float32 (v, 7)."""
    rows, position = np.unique(np.concatenate([m.valid_rows for m in members]), return_inverse=True)
    sums = np.zeros((len(rows), NUM_CLASSES))
    np.add.at(sums, position, np.concatenate([m.valid for m in members]))
    return rows, (sums / np.bincount(position, minlength=len(rows))[:, None]).astype(np.float32)


def _check_compatible(members: list[Predictions]) -> None:
    if not members:
        raise UserError("nothing to blend: no member has finished")
    digests, counts = {m.header["data_digest"] for m in members}, {str(len(m.test)) for m in members}
    for name, values in (("data", digests), ("number of test rows", counts)):
        if len(values) > 1:
            raise UserError(f"these members cannot be blended: their {name} differs ({', '.join(sorted(values))})")


def _blend_header(headers: list[dict]) -> dict:
    shared = {key: value for key, value in headers[0].items() if all(h.get(key) == value for h in headers)}
    return shared | {"member": "+".join(header["member"] for header in headers)}
