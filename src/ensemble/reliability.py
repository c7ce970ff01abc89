"""Reliability: whether a network that is 80 % sure is right in 80 % of such cases.

Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599.
"""

from dataclasses import dataclass

import numpy as np

BINS = 15  # as in the paper


@dataclass(frozen=True)
class Reliability:
    """Rows by confidence, the probability of the predicted class, in bins of equal width.

    edges: float (bins + 1,); counts: int64 (bins,); confidence, accuracy: float (bins,), the means of each bin, NaN for
    an empty one.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error, 0-1: the mean distance of confidence and accuracy, weighted by rows."""
        filled = self.counts > 0
        distances = np.abs(self.confidence - self.accuracy)[filled]
        return float(np.average(distances, weights=self.counts[filled])) if filled.any() else float("nan")


def reliability(probs: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """The bins of probabilities (n, 7) with labels (n,). A confidence on an edge counts for the bin below it."""
    edges = np.linspace(0, 1, bins + 1)
    confidence, is_right = probs.max(1).astype(np.float64), probs.argmax(1) == labels
    numbers = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(numbers, minlength=bins)
    sums = [np.bincount(numbers, values, minlength=bins) for values in (confidence, is_right)]
    with np.errstate(invalid="ignore"):
        return Reliability(edges, counts, *(total / counts for total in sums))
