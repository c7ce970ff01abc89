"""Blends with a weight for each member, learnt from out-of-fold rows."""

import numpy as np

from src.ensemble.means import TINY, Method, filled, weighted_mean

BAGS, STEPS, ITERATIONS = 20, 25, 300
FEW = 10  # members that a bag has at least: the paper draws from thousands, and half of a few may lack the best


def of_labels(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each member gives to the label: (m, n, 7) and (n,) to (m, n). A weighted mean of it is that of the blend."""
    return filled(probs)[:, np.arange(len(labels)), labels].clip(TINY)


def log_loss_weights(probs: np.ndarray, labels: np.ndarray) -> Method:
    """The weights, not negative and of sum 1, with the lowest log-loss.

    The problem is convex; expectation maximization for the shares of a mixture solves it (Dempster et al. 1977).
    """
    likelihood = of_labels(probs, labels)
    weights = np.full(len(probs), 1 / len(probs))
    for _ in range(ITERATIONS):
        joint = weights[:, None] * likelihood
        weights = (joint / joint.sum(0)).mean(1)
    return weighted_mean(weights)


def greedy(probs: np.ndarray, labels: np.ndarray) -> Method:
    """Ensemble selection with replacement and bagging (Caruana et al. 2004), by log-loss.

    Each of 20 bags draws rows with replacement and half of the members, at least ten, and adds, one at a time, the
    member that lowers the loss of the mean most. A member's weight is how often the bags took it.
    """
    rng, likelihood, counts = np.random.default_rng(0), of_labels(probs, labels), np.zeros(len(probs))
    members, rows = likelihood.shape
    for _ in range(BAGS):
        bag = rng.permutation(members)[: max(-(-members // 2), FEW)]
        drawn = likelihood[bag][:, rng.integers(rows, size=rows)]
        counts[bag] += select(drawn)
    return weighted_mean(counts / counts.sum())


def select(likelihood: np.ndarray) -> np.ndarray:
    """How often each member is taken, int64 (m,): up to the step with the lowest loss. likelihood: (m, n)."""
    total, taken, losses = np.zeros(likelihood.shape[1]), [], []
    for step in range(1, STEPS + 1):
        candidates = -np.log((total + likelihood) / step).mean(1)
        taken.append(int(candidates.argmin()))
        losses.append(candidates.min())
        total += likelihood[taken[-1]]
    return np.bincount(taken[: int(np.argmin(losses)) + 1], minlength=len(likelihood))
