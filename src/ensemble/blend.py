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
    if not members:
        raise UserError("nothing to blend: no member has finished")
    headers = [member.header for member in members]
    digests, counts = {header["data_digest"] for header in headers}, {str(len(m.test)) for m in members}
    for name, values in (("data", digests), ("number of test rows", counts)):
        if len(values) > 1:
            raise UserError(f"these members cannot be blended: their {name} differs ({', '.join(sorted(values))})")
    rows, position = np.unique(np.concatenate([m.valid_rows for m in members]), return_inverse=True)
    sums = np.zeros((len(rows), NUM_CLASSES))
    np.add.at(sums, position, np.concatenate([m.valid for m in members]))
    valid = (sums / np.bincount(position, minlength=len(rows))[:, None]).astype(np.float32)
    shared = {key: value for key, value in headers[0].items() if all(h.get(key) == value for h in headers)}
    header = shared | {"member": "+".join(header["member"] for header in headers)}
    test = np.mean([m.test for m in members], axis=0, dtype=np.float32)
    return Predictions(header, rows, valid, test)
