"""The temperature that makes probabilities as often right as they say, and what it does to the calibration error."""

import numpy as np
from scipy.optimize import minimize_scalar

from src.ensemble.means import TINY, Method, log_loss, mean
from src.ensemble.reliability import reliability


def with_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (..., 7) of logits divided by the temperature: above 1 they are less sure. NaN stays."""
    logits = np.log(probs.clip(TINY)) / temperature
    scaled = np.exp(logits - logits.max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


def fit_temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, 0.1 to 10, with the lowest log-loss, for (n, 7) and int64 (n,) (Guo et al. 2017)."""

    def loss(log_temperature: float) -> float:
        return log_loss(with_temperature(probs, np.exp(log_temperature)), labels)

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def calibrated_mean(probs: np.ndarray, labels: np.ndarray) -> Method:
    """The mean of the members, each with its temperature, from probabilities (m, n, 7) and labels (n,)."""
    there = ~np.isnan(probs).any(2)
    temperatures = [
        fit_temperature(one[rows], labels[rows]) if rows.any() else 1.0 for one, rows in zip(probs, there, strict=True)
    ]

    def method(others: np.ndarray) -> np.ndarray:
        return mean(np.stack([with_temperature(one, t) for one, t in zip(others, temperatures, strict=True)]))

    return method


def calibration_line(probs: np.ndarray, labels: np.ndarray) -> str:
    """The expected calibration error for people, before and after a temperature that each half gets from the other."""
    before, after = expected_calibration_error(probs, labels), np.empty(probs.shape)
    for part in (0, 1):
        rest = slice(1 - part, None, 2)
        after[part::2] = with_temperature(probs[part::2], fit_temperature(probs[rest], labels[rest]))
    temperature = fit_temperature(probs, labels)
    errors = f"{100 * before:.2f} % before, {100 * expected_calibration_error(after, labels):.2f} % after"
    return f"calibration: expected calibration error {errors} a temperature of {temperature:.2f}"


def expected_calibration_error(probs: np.ndarray, labels: np.ndarray) -> float:
    """The mean distance, 0-1, of confidence and accuracy over 15 bins, for (n, 7) and int64 (n,)."""
    return reliability(probs, labels).error
