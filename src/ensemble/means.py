"""Blends without parameters, and what they share: probabilities (m, n, 7) of m members, NaN where one lacks a row."""

from collections.abc import Callable

import numpy as np

Method = Callable[[np.ndarray], np.ndarray]  # (m, n, 7) to (n, 7)
TINY = 1e-12


def mean(probs: np.ndarray) -> np.ndarray:
    """The mean of the members that predicted a row."""
    return np.nanmean(probs, axis=0)


def log_mean(probs: np.ndarray) -> np.ndarray:
    """The geometric mean, normalized: the mean of the logarithms of the members that predicted a row."""
    product = np.exp(np.nanmean(np.log(probs.clip(TINY)), axis=0))
    return product / product.sum(1, keepdims=True)


def weighted_mean(weights: np.ndarray) -> Method:
    """The mean with the members' weights, float (m,); of a row, those of the members that predicted it."""

    def method(probs: np.ndarray) -> np.ndarray:
        there = ~np.isnan(probs)
        share = there * (weights.reshape(-1, 1, 1) + TINY)  # a row of members without weight is their plain mean
        return (np.nan_to_num(probs) * share).sum(0) / share.sum(0)

    return method


def filled(probs: np.ndarray) -> np.ndarray:
    """The same with the mean of the other members where one lacks a row."""
    return np.where(np.isnan(probs), mean(probs), probs)


def log_loss(probs: np.ndarray, labels: np.ndarray) -> float:
    """The mean negative logarithm of the label's probability, for (n, 7) and int64 (n,)."""
    return float(-np.log(probs[np.arange(len(labels)), labels].clip(TINY)).mean())
