"""Sections of a run's report, of each member and of the blend: confusion matrices, figures by class, calibration."""

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.ensemble.predictions import Predictions
from src.ensemble.reliability import Reliability, reliability
from src.report.curves import confusion_figure
from src.report.figures import BLUE, COLOURS, Figure, draw
from src.report.numbers import percent
from src.report.page import Table
from src.report.run_files import RunFiles

_LABELS = range(NUM_CLASSES)
_FEW = 0.002  # of the rows: the accuracy of a bin with fewer is chance


def confusion_blocks(run: RunFiles) -> list:
    """A confusion matrix of each member and of the blend, the blend first."""
    if not run.scored:
        return []
    text = (
        "Rows are labels, columns are predicted classes. Each cell has the number of faces and their share of the row; "
        "the share of the diagonal is the recall."
    )
    return [text, *(confusion_figure(name, run.labels(one), one.valid) for name, one in _blend_first(run))]


def classes_blocks(run: RunFiles) -> list:
    """Precision, recall, F1 and support of each class: a table for each of them, the members side by side."""
    found = {name: class_figures(one, run.labels(one)) for name, one in _blend_first(run)}
    if not found:
        return []
    *rates, supports = (list(columns) for columns in zip(*(figures.T for figures in found.values()), strict=True))
    same = all(np.array_equal(support, supports[0]) for support in supports)
    names = [*CLASS_NAMES, "macro"]
    blocks = []
    for title, columns in zip(("precision", "recall", "F1"), rates, strict=True):
        cells = [list(map(percent, column)) for column in columns]
        rows = list(zip(names, *([map(int, supports[0])] if same else []), *cells, strict=True))
        blocks.append(Table((title, *(["support"] if same else []), *found), rows, "Macro: the mean of the classes."))
    if not same:
        rows = list(zip(names, *(map(int, support) for support in supports), strict=True))
        caption = "The validation rows of each class; members have different rows."
        blocks.append(Table(("support", *found), rows, caption))
    return blocks


def class_figures(predictions: Predictions, labels: np.ndarray) -> np.ndarray:
    """Precision, recall, F1 (0-1, NaN where there is nothing to divide by) and support of each class, (8, 4).

    The last row is the mean of the classes that occur, as macro-F1 takes it, and the number of all rows.
    """
    predicted = predictions.valid.argmax(1)
    found = np.stack(precision_recall_fscore_support(labels, predicted, labels=_LABELS, zero_division=np.nan), 1)
    occurs = np.union1d(labels, predicted)
    means = precision_recall_fscore_support(labels, predicted, labels=occurs, average="macro", zero_division=0.0)[:3]
    return np.vstack([found, [*means, len(labels)]])


def calibration_blocks(run: RunFiles) -> list:
    """The reliability diagrams in one figure, with the calibration errors in a table."""
    found = {name: reliability(one.valid, run.labels(one)) for name, one in _blend_first(run)}
    if not found:
        return []
    rows = [
        (name, percent(one.error), percent(_mean(one, one.confidence)), percent(_mean(one, one.accuracy)))
        for name, one in found.items()
    ]
    header = ("member", "expected calibration error", "mean confidence", "accuracy")
    caption = "A mean confidence above the accuracy: the probabilities are too sure; below: not sure enough."
    return [_diagram(found), _confidences(found), Table(header, rows, caption)]


def _blend_first(run: RunFiles) -> list[tuple[str, Predictions]]:
    """Name and predictions of the blend, then of the members."""
    return sorted(run.scored.items(), key=lambda item: item[1] is not run.blended)


def _mean(found: Reliability, values: np.ndarray) -> float:
    return float(np.nansum(values * found.counts) / found.counts.sum())


def _diagram(found: dict[str, Reliability]) -> Figure:
    lines = dict(list(found.items())[: len(COLOURS) - 1])  # the last colour is that of the diagonal

    def plot(axes) -> None:
        axes.plot([0, 100], [0, 100], color=COLOURS[-1], linewidth=1, linestyle="--")
        for number, (name, one) in enumerate(lines.items()):
            width, above = (2, 3) if number == 0 else (1, 2)
            style = {"color": COLOURS[number], "linewidth": width, "zorder": above, "markersize": 3}
            filled = one.counts > _FEW * one.counts.sum()
            axes.plot(100 * one.confidence[filled], 100 * one.accuracy[filled], "-o", label=name, **style)
        axes.set(xlabel="confidence (%)", ylabel="accuracy (%)", xlim=(0, 100), ylim=(0, 100))
        if len(lines) > 4:
            axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        else:
            axes.legend(loc="upper left")

    more = f" The first {len(lines)} of {len(found)}." if len(lines) < len(found) else ""
    caption = f"Reliability diagram: accuracy of each bin with more than {100 * _FEW} % of the rows. "
    caption += f"The dashed diagonal is perfect calibration.{more}"
    extra = 0.21 * -(-len(lines) // 2) if len(lines) > 4 else 0
    return draw("reliability", caption, plot, size=(5.6, 4.2 + extra))


def _confidences(found: dict[str, Reliability]) -> Figure:
    name, one = next(iter(found.items()))

    def plot(axes) -> None:
        axes.stairs(100 * one.counts / one.counts.sum(), 100 * one.edges, fill=True, color=BLUE, alpha=0.85)
        axes.set(xlabel="confidence (%)", ylabel="validation rows (%)", xlim=(0, 100))

    return draw("confidence", f"{name}: how sure it is, in the bins of the reliability diagram.", plot, size=(5.6, 4.2))
