"""Combines the predictions of several members into one, which is a predictions file again."""

import numpy as np

from src.config import UNFITTED_BLENDS
from src.dataset import NUM_CLASSES
from src.ensemble.means import mean
from src.ensemble.merging import merge_folds
from src.ensemble.methods import FOLDS, METHODS, BlendFigures, compare, cross_fitted
from src.ensemble.predictions import Predictions
from src.errors import UserError


def blend(members: list[Predictions]) -> Predictions:
    """The mean of the members' predictions, row by row.

    Members of different folds have different validation rows; the blend has all of them. The header keeps the values
    that all members share. Raises UserError for no member, for different data, and for different numbers of test rows.
    """
    require_one_data_set(members)
    rows, valid = align_valid(members)
    return combined(members, rows, mean(valid), mean(stack_test(members)))


def fitted_blend(members: list[Predictions], name: str, labels: np.ndarray) -> Predictions:
    """The members' predictions combined by a blend, a key of METHODS; the folds of a member count as one.

    labels: of the training data, int64 (n,). The test rows' probabilities are of a fit to all validation rows, and
    those of the validation rows of fits to the others. Raises UserError as `blend` does, and for too few rows.
    """
    require_one_data_set(members)
    columns = merge_folds(members)
    rows, valid = align_valid(columns)
    if name not in UNFITTED_BLENDS and len(rows) < FOLDS:
        raise UserError(f"blend {name}: {len(rows)} validation rows are too few to fit it; choose the blend mean")
    method = METHODS[name](valid, labels[rows])
    if name in UNFITTED_BLENDS:
        return combined(members, rows, method(valid), method(stack_test(columns)))
    return combined(members, rows, cross_fitted(name, valid, labels[rows]), method(stack_test(columns)))


def compare_blends(members: list[Predictions], labels: np.ndarray) -> tuple[int, dict[str, BlendFigures]]:
    """How many columns the members are, the folds of a member counting as one, and the figures of every blend of them.

    There are none of one column, or of too few validation rows.
    """
    columns = merge_folds(members)
    rows, valid = align_valid(columns)
    comparable = len(columns) > 1 and len(rows) >= FOLDS
    return len(columns), compare(valid, labels[rows]) if comparable else {}


def combined(members: list[Predictions], rows: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Predictions:
    """Predictions with the members' names, and with what their headers share."""
    headers = [member.header for member in members]
    shared = {key: value for key, value in headers[0].items() if all(h.get(key) == value for h in headers)}
    header = shared | {"member": "+".join(header["member"] for header in headers)}
    return Predictions(header, rows, valid.astype(np.float32), test.astype(np.float32))


def stack_test(members: list[Predictions]) -> np.ndarray:
    """Probabilities of the test rows, float64 (m, t, 7)."""
    return np.stack([member.test for member in members]).astype(np.float64)


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
