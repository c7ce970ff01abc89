"""ensemble.csv of a recorded run: what each member, each network on all folds, and each blend of them reach.

    name          face_vgg_m-f0-s0: a member; face_vgg_m-s0: the same network on all folds; mean: a blend
    kind          member, all folds, or blend; the run's own one is `blend, submitted`
    rows          validation rows, none of which the network was trained on, nor the blend fitted to
    accuracy      on these rows, 0-1; low and high bound its 95 % interval (Wilson)
    macro_f1      0-1
    log_loss      the mean negative logarithm of the label's probability
    gain          of a blend: its accuracy minus that of the mean; gain_error is the standard error of it
    public_test   accuracy on PublicTest, 0-1

Nothing is chosen here. A blend is fitted to each four fifths of the rows and measured on the rest.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from src.data.competition import Competition
from src.ensemble.blend import compare_blends, fitted_blend
from src.ensemble.means import log_loss
from src.ensemble.merging import merge_folds
from src.ensemble.methods import BlendFigures
from src.ensemble.predictions import Predictions
from src.report.paired import accuracy_interval
from src.run.finish import quality
from src.submit.score import PUBLIC, USAGES, labels_by_usage

MEMBER, ALL_FOLDS, BLENDED, SUBMITTED = "member", "all folds", "blend", "blend, submitted"
NONE = "–"


def ensemble_table(members: list[Predictions], method: str, files: Competition, source: Path) -> pd.DataFrame:
    """The rows of ensemble.csv. method: of the run's blend; source: where the labels for scoring are.

    Raises UserError for members of different data, and where there are no labels of the test images.
    """
    public = labels_by_usage(source, files).get(USAGES[PUBLIC], np.full(len(files.test), -1))
    named = [(MEMBER, one.header["member"], one, None) for one in members]
    alone = {name for _, name, *_ in named}
    named += [(ALL_FOLDS, c.header["member"], c, None) for c in merge_folds(members) if c.header["member"] not in alone]
    for name, figures in blends_of(members, method, files).items():
        kind = SUBMITTED if name == method else BLENDED
        named.append((kind, name, fitted_blend(members, name, files.train.labels), figures))
    return pd.DataFrame([row(*one, files.train.labels, public) for one in named])


def blends_of(members: list[Predictions], method: str, files: Competition) -> dict[str, BlendFigures | None]:
    """Every blend by its name, with its gain; where they cannot be compared, the run's own one without."""
    return compare_blends(members, files.train.labels)[1] or {method: None}


def row(
    kind: str,
    name: str,
    found: Predictions,
    figures: BlendFigures | None,
    labels: np.ndarray,
    public: np.ndarray,
) -> dict:
    """One row. labels: int64 (n,) of the training data; public: of the test rows, -1 where one is not of PublicTest."""
    truth = labels[found.valid_rows]
    low, high = accuracy_interval(found.valid.argmax(1) == truth)[1:]
    accuracy, macro_f1 = quality(truth, found.valid)
    right = (found.test.argmax(1) == public)[public >= 0]
    return {
        "name": name,
        "kind": kind,
        "rows": len(truth),
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "macro_f1": macro_f1,
        "log_loss": log_loss(found.valid, truth),
        "gain": figures.gain if figures else np.nan,
        "gain_error": figures.gain_error if figures else np.nan,
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
    return f"{100 * one.gain:+.2f} ± {100 * one.gain_error:.2f}"
