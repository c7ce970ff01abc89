"""Figures of one set of predictions: confusion matrix, precision-recall and ROC curves."""

import numpy as np
from sklearn.metrics import auc, average_precision_score, confusion_matrix, precision_recall_curve, roc_curve

from src.dataset import CLASS_NAMES, NUM_CLASSES
from src.report.figures import Figure, draw, heat_map
from src.report.numbers import percent


def confusion_figure(name: str, labels: np.ndarray, probs: np.ndarray) -> Figure:
    """Counts and their share of the row, whose label they have. name: whose probabilities, float (n, 7)."""
    counts = confusion_matrix(labels, probs.argmax(1), labels=range(NUM_CLASSES))
    shares = 100 * counts / np.maximum(1, counts.sum(1, keepdims=True))
    texts = np.array([f"{count:,}\n{share:.0f} %" for count, share in zip(counts.flat, shares.flat, strict=True)])

    def plot(axes) -> None:
        heat_map(axes, shares, CLASS_NAMES, CLASS_NAMES, texts.reshape(counts.shape))
        axes.set(xlabel="predicted class", ylabel="label", title=name)

    right = np.trace(counts) / counts.sum()
    caption = f"{name}: {percent(right)} of {counts.sum():,} validation rows are on the diagonal."
    return draw(f"confusion-{name.replace(' ', '-')}", caption, plot, size=(5.4, 4.6))


def precision_recall_figure(labels: np.ndarray, probs: np.ndarray) -> Figure:
    """One curve for each class that occurs, with its average precision. probs: float (n, 7)."""

    def curve(is_class, scores):
        precision, recall, _ = precision_recall_curve(is_class, scores)
        return recall, precision, f"AP {100 * average_precision_score(is_class, scores):.1f} %"

    return _curves("precision_recall", labels, probs, curve, ("recall (%)", "precision (%)"))


def roc_figure(labels: np.ndarray, probs: np.ndarray) -> Figure:
    """One curve for each class that occurs, with the area below it. probs: float (n, 7)."""

    def curve(is_class, scores):
        false, true, _ = roc_curve(is_class, scores)
        return false, true, f"area {100 * auc(false, true):.1f} %"

    return _curves("roc", labels, probs, curve, ("false positive rate (%)", "true positive rate (%)"))


def _curves(name: str, labels: np.ndarray, probs: np.ndarray, curve, axis_names: tuple[str, str]) -> Figure:
    def plot(axes):
        for number, class_name in enumerate(CLASS_NAMES):
            is_class = labels == number
            if 0 < is_class.sum() < len(labels):
                x, y, figure = curve(is_class, probs[:, number])
                axes.plot(100 * x, 100 * y, label=f"{class_name}, {figure}")
        axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
        if axes.lines:
            axes.legend()

    return draw(name, "Each class against all others, on the validation rows.", plot, (5.6, 4.6))
