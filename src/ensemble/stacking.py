"""Stacking: a logistic regression on the members' log-probabilities (Wolpert 1992)."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from src.dataset import NUM_CLASSES
from src.ensemble.means import Method, filled

FLOOR = 1e-4  # of a probability: its logarithm is a feature
STRENGTH = 0.003  # inverse of the regularization: members agree, so their coefficients must be held together


def features(probs: np.ndarray) -> np.ndarray:
    """Log-probabilities of all members, (m, n, 7) to (n, 7 m)."""
    return np.log(filled(probs).clip(FLOOR)).transpose(1, 0, 2).reshape(probs.shape[1], -1)


def stacking(probs: np.ndarray, labels: np.ndarray) -> Method:
    """The regression learnt from probabilities (m, n, 7) and labels int64 (n,); a class without rows gets 0."""
    if len(np.unique(labels)) < 2:
        return lambda others: np.nanmean(others, axis=0)
    # Newton steps: the features of members that agree are collinear, and lbfgs then needs hundreds of iterations.
    model = LogisticRegression(C=STRENGTH, solver="newton-cholesky").fit(features(probs), labels)

    def method(others: np.ndarray) -> np.ndarray:
        found = np.zeros((others.shape[1], NUM_CLASSES))
        found[:, model.classes_] = model.predict_proba(features(others))
        return found

    return method
