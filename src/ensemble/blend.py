"""Members' probabilities made one."""

import numpy as np

from src.dataset import NUM_CLASSES
from src.ensemble.predictions import Predictions
from src.errors import UserError


def mean(members: list[Predictions]) -> Predictions:
    """The plain mean of the members' probabilities; on validation rows, of those members that predicted the row.

    Members of different folds have different validation rows; the blend has them all. Its header keeps what all
    members have in common. Raises UserError where there is
    no member, where members are from different data, or where they predicted different numbers of test rows.
    """
    if not members:
        raise UserError("nothing to blend: no member has finished")
    for key, values in (
        ("data", {m.header["data_digest"] for m in members}),
        ("number of test rows", {len(m.test) for m in members}),
    ):
        if len(values) > 1:
            raise UserError(
                f"these members do not go together: their {key} differs ({', '.join(map(str, sorted(values)))})"
            )
    rows, valid = mean_by_row(members)
    shared = {k: v for k, v in members[0].header.items() if all(m.header.get(k) == v for m in members)}
    header = shared | {"member": "+".join(m.header["member"] for m in members)}
    return Predictions(header, rows, valid, np.mean([m.test for m in members], axis=0, dtype=np.float32))


def mean_by_row(members: list[Predictions]) -> tuple[np.ndarray, np.ndarray]:
    """All validation rows, int64 (v,) ascending, and the mean of the probabilities given for each, float32 (v, 7)."""
    rows, at = np.unique(np.concatenate([m.valid_rows for m in members]), return_inverse=True)
    sums = np.zeros((len(rows), NUM_CLASSES))
    np.add.at(sums, at, np.concatenate([m.valid for m in members]))
    return rows, (sums / np.bincount(at, minlength=len(rows))[:, None]).astype(np.float32)
