"""The blends by name, and the choice among them by cross-validation on out-of-fold rows.

A blend is fitted to probabilities float (m, n, 7) of m members, NaN where one lacks a row, and labels int64 (n,); what
it gives is a function of other probabilities (m, k, 7) of the same members, which returns (k, 7).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold

from src.ensemble.calibration import calibrated_mean
from src.ensemble.means import Method, log_loss, log_mean, mean
from src.ensemble.stacking import stacking
from src.ensemble.weighting import greedy, log_loss_weights

FOLDS = 5
AUTO = "auto"

# The names that `ensemble --blend` and the setting `blend` take.
METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Method]] = {
    "mean": lambda probs, labels: mean,
    "log_mean": lambda probs, labels: log_mean,
    "greedy": greedy,
    "weights": log_loss_weights,
    "stacking": stacking,
    "temperature": calibrated_mean,
}


@dataclass(frozen=True)
class BlendFigures:
    """A blend on rows that it was not fitted to. gain: of accuracy (0-1) over the mean, with its standard error."""

    accuracy: float
    log_loss: float
    gain: float
    gain_error: float


def cross_fitted(name: str, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The blend's probabilities (n, 7); those of each fifth of the rows by a fit to the others."""
    found = np.empty(probs.shape[1:])
    for rest, part in KFold(FOLDS, shuffle=True, random_state=0).split(labels):
        found[part] = METHODS[name](probs[:, rest], labels[rest])(probs[:, part])
    return found


def compare(probs: np.ndarray, labels: np.ndarray) -> dict[str, BlendFigures]:
    """The figures of every blend on the same rows, at least FOLDS of them."""
    figures, base = {}, mean(probs).argmax(1) == labels
    for name in METHODS:
        figures[name] = blend_figures(cross_fitted(name, probs, labels), base, labels)
    return figures


def blend_figures(blended: np.ndarray, base: np.ndarray, labels: np.ndarray) -> BlendFigures:
    """The figures of a blend's probabilities (n, 7). base: bool (n,), which rows the mean has right."""
    right = blended.argmax(1) == labels
    gains = right.astype(float) - base
    error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
    return BlendFigures(float(right.mean()), log_loss(blended, labels), float(gains.mean()), error)


def choose(figures: dict[str, BlendFigures]) -> str:
    """The most accurate blend that beats the mean by more than the gain's standard error; else the mean."""
    better = [name for name, one in figures.items() if one.gain > one.gain_error]
    return max(better, key=lambda name: figures[name].accuracy, default="mean")


def figures_table(figures: dict[str, BlendFigures], rows: int) -> list[str]:
    """The comparison for people, a line a blend."""
    lines = [f"blends, on {rows:,} validation rows that each was not fitted to:"]
    for name, one in figures.items():
        error = 100 * np.sqrt(one.accuracy * (1 - one.accuracy) / rows)
        text = f"  {name:11s} {100 * one.accuracy:6.2f} ± {error:.2f} %  log-loss {one.log_loss:.4f}"
        gain = "" if name == "mean" else f"  gain {100 * one.gain:+.2f} ± {100 * one.gain_error:.2f}"
        lines.append(text + gain)
    return lines
