"""ensemble.csv of a recorded run: what each member, each network on all folds, and each blend of them reach.

    name          face_vgg_m-f0-s0: a member; face_vgg_m-s0: the same network on all folds; mean: a blend
    kind          member, all folds, or blend; the run's own one is `blend, submitted`
    rows          validation rows, none of which the network was trained on, nor the blend fitted to
    accuracy      on these rows, 0-1; low and high bound its 95 % interval (Wilson)
    macro_f1      0-1
    log_loss      the mean negative logarithm of the label's probability
    public_test   accuracy on PublicTest, 0-1
    gain          of a blend: its accuracy minus that of the mean; gain_error is the standard error of it

The validation rows chose each member's best epoch; nothing is chosen here. A blend is fitted to each four fifths of
the rows and measured on the rest.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from src.data.competition import Competition
from src.ensemble.blend import fitted_blend
from src.ensemble.means import log_loss
from src.ensemble.merging import merge_folds
from src.ensemble.methods import FOLDS, METHODS, blend_figures
from src.ensemble.predictions import Predictions
from src.report.numbers import points
from src.report.paired import accuracy_interval
from src.run.finish import accuracy_and_macro_f1
from src.run.record import EnsembleResult
from src.submit.score import PUBLIC, USAGES, labels_by_usage

MEMBER, ALL_FOLDS, BLENDED, SUBMITTED = "member", "all folds", "blend", "blend, submitted"
NONE = "–"


def ensemble_table(
    members: list[Predictions],
    result: EnsembleResult,
    files: Competition,
    source: Path,
    labelled: Predictions | None = None,
) -> pd.DataFrame:
    """The rows of ensemble.csv. result: the run's blend; source: where the labels for scoring are.

    labelled: what was submitted, where that is the blend with the labels of copies; else None.

    Raises UserError for members of different data, and where there are no labels of the test images.
    """
    labels = files.train.labels
    public = labels_by_usage(source, files).get(USAGES[PUBLIC], np.full(len(files.test), -1))
    rows = [row(MEMBER, one.header["member"], one, labels, public) for one in members]
    columns, alone = merge_folds(members), {one["name"] for one in rows}
    merged = [one for one in columns if one.header["member"] not in alone]
    rows += [row(ALL_FOLDS, one.header["member"], one, labels, public) for one in merged]
    mean = fitted_blend(members, "mean", labels)
    truth = labels[mean.valid_rows]
    comparable = len(columns) > 1 and len(truth) >= FOLDS
    for name in METHODS if comparable else (result.method,):
        blended = fitted_blend(members, name, labels)
        gain = blend_figures(blended.valid, mean.valid.argmax(1) == truth, truth)
        gains = {"gain": gain.gain, "gain_error": gain.gain_error}
        kind = SUBMITTED if name == result.method and labelled is None else BLENDED
        rows.append(row(kind, name, blended, labels, public) | gains)
    if labelled is not None:
        rows.append(row(SUBMITTED, f"{result.method}, copies {result.copies}", labelled, labels, public))
    return pd.DataFrame(rows)


def row(kind: str, name: str, found: Predictions, labels: np.ndarray, public: np.ndarray) -> dict:
    """One row, without a gain.

    labels: of the training data, int64 (n,); public: of the test rows, -1 where one is not of PublicTest.
    """
    truth = labels[found.valid_rows]
    accuracy, low, high = accuracy_interval(found.valid.argmax(1) == truth)
    right = (found.test.argmax(1) == public)[public >= 0]
    return {
        "name": name,
        "kind": kind,
        "rows": len(truth),
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "macro_f1": accuracy_and_macro_f1(truth, found.valid)[1],
        "log_loss": log_loss(found.valid, truth),
        "public_test": right.mean() if len(right) else np.nan,
    }


def shown(table: pd.DataFrame) -> list[dict]:
    """The rows as the page shows them, shares in per cent and gains in percentage points."""
    return [
        {
            "what": f"{one.name} ({one.kind})",
            "rows": f"{one.rows:,}",
            "accuracy": f"{100 * one.accuracy:.2f}",
            "95 % interval": f"{100 * one.low:.2f} – {100 * one.high:.2f}",
            "macro-F1": f"{100 * one.macro_f1:.2f}",
            "log-loss": f"{one.log_loss:.4f}",
            "gain over the mean": gain(one),
            "PublicTest": NONE if np.isnan(one.public_test) else f"{100 * one.public_test:.2f}",
        }
        for one in table.itertuples(index=False)
    ]


def gain(one) -> str:
    """The gain of a row over the mean, in percentage points; a dash for the mean itself and for what is no blend."""
    if one.name == "mean" or np.isnan(one.gain):
        return NONE
    return f"{points(one.gain)} ± {100 * one.gain_error:.2f}"
