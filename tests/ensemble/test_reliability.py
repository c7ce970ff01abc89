"""The bins and the expected calibration error are those of scikit-learn's calibration curve."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from src.ensemble.reliability import BINS, reliability


def test_the_bins_are_those_of_scikit_learn_and_the_error_is_their_weighted_distance():
    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet(np.full(7, 0.4), 900), rng.integers(0, 7, 900)
    confidence, is_right = probs.max(1), probs.argmax(1) == labels
    accuracy, mean = calibration_curve(is_right, confidence, n_bins=BINS, strategy="uniform")
    found = reliability(probs, labels)
    filled = found.counts > 0
    assert found.accuracy[filled] == pytest.approx(accuracy) and found.confidence[filled] == pytest.approx(mean)
    counts = np.histogram(confidence, found.edges)[0]
    assert found.counts.tolist() == counts.tolist()
    assert found.error == pytest.approx((counts[filled] * abs(accuracy - mean)).sum() / 900)


def test_a_network_that_is_always_sure_and_right_half_the_time_has_an_error_of_a_half():
    assert reliability(np.eye(7)[[0] * 10], np.arange(10) % 2).error == 0.5


def test_without_rows_there_is_no_error():
    assert np.isnan(reliability(np.zeros((0, 7)), np.zeros(0, int)).error)
