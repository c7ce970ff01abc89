"""Whether a submission's labels seem to number the classes in another order: alphabetical order is common."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from src.dataset import CLASS_NAMES, NUM_CLASSES

FAR_HIGHER = 0.1  # of accuracy; also, the intervals of both orders must not meet
CONFIDENCE = {True: 0.95, False: 1 - 0.05 / math.factorial(NUM_CLASSES)}  # alphabetical; the best of all orders
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
    is_alphabetical = right_alphabetical >= right - CLOSE * len(labels)
    if is_alphabetical:
        meant, right = alphabetical, right_alphabetical
    n, now = len(labels), int(np.trace(counts))
    if right - now < FAR_HIGHER * n or len(np.unique(predicted)) < FEWEST_LABELS:
        return None
    better, worse = (binomtest(k, n).proportion_ci(CONFIDENCE[is_alphabetical], "wilson") for k in (right, now))
    if better.low <= worse.high:
        return None
    return ClassOrder(tuple(CLASS_NAMES[label] for label in meant), right / n, now / n)
