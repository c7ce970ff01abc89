"""Whether a submission's labels seem to number the classes in another order: alphabetical order is common."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from src.dataset import CLASS_NAMES, NUM_CLASSES

FAR_HIGHER = 0.1  # of accuracy; also, the 95 % intervals of both orders must not meet
CLOSE = 0.02  # of accuracy: an alphabetical order so close to the best one is the likelier mistake
FEWEST_LABELS = 4  # different ones in the submission: with fewer, an order explains little


@dataclass(frozen=True)
class ClassOrder:
    """An order of the classes, in which label i of the submission means names[i], and both accuracies, 0-1."""

    names: tuple[str, ...]
    accuracy: float
    as_it_is: float

    @property
    def is_alphabetical(self) -> bool:
        return list(self.names) == sorted(CLASS_NAMES)


def better_order(predicted: np.ndarray, labels: np.ndarray) -> ClassOrder | None:
    """The order of the classes in which the predictions, int (n,), would score far higher; None without one."""
    counts = confusion_matrix(predicted, labels, labels=range(NUM_CLASSES))
    meant = linear_sum_assignment(counts, maximize=True)[1]
    alphabetical = np.array([CLASS_NAMES.index(name) for name in sorted(CLASS_NAMES)])
    right, right_alphabetical = (int(counts[np.arange(NUM_CLASSES), order].sum()) for order in (meant, alphabetical))
    if right_alphabetical >= right - CLOSE * len(labels):
        meant, right = alphabetical, right_alphabetical
    n, now = len(labels), int(np.trace(counts))
    if right - now < FAR_HIGHER * n or len(np.unique(predicted)) < FEWEST_LABELS:
        return None
    low, high = (binomtest(count, n).proportion_ci(0.95, method="wilson") for count in (right, now))
    if low.low <= high.high:
        return None
    return ClassOrder(tuple(CLASS_NAMES[label] for label in meant), right / n, now / n)
