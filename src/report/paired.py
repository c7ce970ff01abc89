"""Two classifiers on the same rows: accuracies with intervals, and the exact test of McNemar (1947).

Two accuracies may differ by chance. On the same rows only those that one of the two has right and the other wrong say
which is better, and the test says how likely a difference as large is between two equally good classifiers.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Pair:
    """Two classifiers on the same `n` rows.

    difference: of the first's accuracy to the second's, with the half-width of its 95 % interval, 0-1. p: of the exact
    test of McNemar.
    """

    n: int
    only_first: int
    only_second: int
    difference: float
    half_width: float
    p: float


def compare_pair(first: np.ndarray, second: np.ndarray) -> Pair:
    """First against second, each bool (n,), n > 0: which rows they have right."""
    a, b, n = int((first & ~second).sum()), int((second & ~first).sum()), len(first)
    p = binomtest(a, a + b).pvalue if a + b else 1.0
    half = 1.96 * math.sqrt(a + b - (a - b) ** 2 / n) / n
    return Pair(n, a, b, (a - b) / n, half, float(p))


def accuracy_interval(correct: np.ndarray) -> tuple[float, float, float]:
    """Accuracy and the 95 % interval of Wilson (1927) around it, 0-1. correct: bool (n,), n > 0."""
    right, n = int(correct.sum()), len(correct)
    low, high = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return right / n, float(low), float(high)


def p_value(p: float) -> str:
    """`0.012`, and `3e-05` where that would be 0.000."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
