"""Section of a run's report: what each member adds to the blend, and how much the members disagree."""

from dataclasses import replace

import numpy as np

from src.ensemble.blend import align_valid, blend
from src.ensemble.predictions import Predictions
from src.report.figures import BLUE, Figure, draw, heat_map
from src.report.numbers import percent, points
from src.report.page import Table
from src.report.run_files import RunFiles, dict_of

_MOST = 24  # members in the matrix of disagreement: more texts would overlap


def blend_blocks(run: RunFiles) -> list:
    """Leave-one-out, cumulative, and the matrix of disagreement; empty for fewer than two members."""
    found = {name: one for name, one in run.scored.items() if name in run.compared}
    if len(found) < 2:
        return []
    labels = run.data.train.labels
    blended = [name for name in run.blended_members if name in found]
    alone = {name: accuracy(one, labels) for name, one in found.items()}
    gains = {name: gain([found[n] for n in blended], blended.index(name), labels) for name in blended}
    rows = [
        (name, percent(alone[name]), points(gains[name]) if name in blended else "–", percent(first))
        for name, first in zip(found, cumulative(list(found.values()), labels), strict=True)
    ]
    header = ("member", "accuracy alone", "gain", "blend up to this member")
    caption = (
        "Gain: the blend's accuracy minus that of the blend without this member, in percentage points, on the rows "
        "that both have; – for a member that is not in the blend. Last column: the mean of the members up to this row."
    )
    caption += "" if run.method == "mean" else f" These are of the mean; the submission is of {run.method}."
    methods = _methods(dict_of(run.record, "ensemble", "figures"))
    return [Table(header, rows, caption), *methods, _cumulative(rows, found, labels), *_disagreement(found)]


def _methods(figures: dict) -> list[Table]:
    """The blends that the run has compared, as run.json has them; none where it has compared none."""
    keys = ("accuracy", "gain", "gain_error", "log_loss")
    found = {name: [one[key] for key in keys] for name, one in figures.items()}
    rows = [
        (name, percent(accuracy), f"{points(gain)} ± {100 * error:.2f}", f"{loss:.4f}")
        for name, (accuracy, gain, error, loss) in found.items()
    ]
    caption = (
        "Each blend on validation rows that it was not fitted to. Gain: over the mean, in percentage points, ± its "
        "standard error."
    )
    return [Table(("blend", "accuracy", "gain", "log-loss"), rows, caption)] if rows else []


def accuracy(predictions: Predictions, labels: np.ndarray) -> float:
    """The share of the validation rows that are right, 0-1. labels: of the training data."""
    return float((predictions.valid.argmax(1) == labels[predictions.valid_rows]).mean())


def gain(members: list[Predictions], number: int, labels: np.ndarray) -> float:
    """The blend's accuracy minus that without one member, on the rows that others predict too; NaN without such."""
    others = members[:number] + members[number + 1 :]
    if not others:
        return float("nan")
    without, whole = blend(others), blend(members)
    common = np.isin(without.valid_rows, members[number].valid_rows)
    if not common.any():
        return float("nan")
    rows = without.valid_rows[common]
    same = np.isin(whole.valid_rows, rows)
    parts = [replace(whole, valid_rows=rows, valid=whole.valid[same])]
    parts.append(replace(without, valid_rows=rows, valid=without.valid[common]))
    return accuracy(parts[0], labels) - accuracy(parts[1], labels)


def cumulative(members: list[Predictions], labels: np.ndarray) -> list[float]:
    """The accuracy of the mean of the first 1, 2, … members, each on all rows that they predict."""
    return [accuracy(blend(members[: number + 1]), labels) for number in range(len(members))]


def disagreement(members: list[Predictions]) -> np.ndarray:
    """The share of the rows that both predicted for which two members predict other classes, float (m, m).

    NaN where they have no row in common.
    """
    _, probs = align_valid(members)
    predicted = np.where(np.isnan(probs).any(2), -1, probs.argmax(2))
    known = predicted >= 0
    both = known[:, None] & known[None]
    differ = (predicted[:, None] != predicted[None]) & both
    with np.errstate(invalid="ignore"):
        return differ.sum(2) / both.sum(2)


def _cumulative(rows: list[tuple], found: dict[str, Predictions], labels: np.ndarray) -> Figure:
    values = [100 * value for value in cumulative(list(found.values()), labels)]
    alone = [100 * accuracy(one, labels) for one in found.values()]

    def plot(axes) -> None:
        at = np.arange(len(found))
        axes.plot(at, values, "-o", color=BLUE, markersize=4, label="blend up to this member")
        axes.plot(at, alone, "s", color="#d55e00", markersize=4, label="member alone")
        axes.set_xticks(at, list(found), rotation=45, ha="right", rotation_mode="anchor")
        axes.set(ylabel="accuracy (%)")
        axes.legend()

    caption = f"Accuracy of each member, and of the mean of the members up to it: {rows[-1][-1]} for all."
    return draw("cumulative-blend", caption, plot, size=(5.6, 4.0))


def _disagreement(found: dict[str, Predictions]) -> list[Figure]:
    """The matrix; none where no two members have a row in common."""
    names = list(found)[:_MOST]
    values = 100 * disagreement([found[name] for name in names])
    np.fill_diagonal(values, np.nan)
    if not np.isfinite(values).any():
        return []
    texts = np.array([[f"{value:.1f}" if np.isfinite(value) else "" for value in row] for row in values])

    def plot(axes) -> None:
        heat_map(axes, values, names, names, texts)

    more = f" The first {_MOST} members of {len(found)}." if len(found) > _MOST else ""
    caption = (
        "Disagreement: per cent of the validation rows for which two members predict different classes; at most "
        f"{percent(np.nanmax(values) / 100)}. Members that are right equally often and disagree gain most from a "
        f"blend.{more}"
    )
    side = max(4.0, 1.4 + 0.42 * len(names))
    return [draw("disagreement", caption, plot, size=(max(5.6, side + 0.6), side))]
