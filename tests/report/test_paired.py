"""Paired comparisons agree with scipy's tests and with counts by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest

from src.report.paired import accuracy_interval, compare_pair, p_value


def test_the_paired_comparison_counts_the_rows_on_which_two_differ():
    first = np.array([True] * 60 + [False] * 40)
    second = np.array([True] * 50 + [False] * 40 + [True] * 10)
    pair = compare_pair(first, second)
    assert (pair.n, pair.only_first, pair.only_second, pair.difference, pair.p) == (100, 10, 10, 0.0, 1.0)
    assert compare_pair(first, first).p == 1.0 and compare_pair(first, first).half_width == 0
    better = compare_pair(first, np.zeros(100, bool))
    assert better.difference == pytest.approx(0.6) and better.p < 1e-15


@pytest.mark.parametrize("seed", range(4))
def test_p_is_that_of_the_exact_binomial_test_in_either_order(seed):
    first, second = np.random.default_rng(seed).random((2, 200)) < [[0.7], [0.6]]
    only = [int((first & ~second).sum()), int((~first & second).sum())]
    expected = binomtest(min(only), sum(only), 0.5).pvalue
    assert compare_pair(first, second).p == pytest.approx(expected)
    assert compare_pair(second, first).p == pytest.approx(expected)
    assert compare_pair(first, second).difference == pytest.approx(first.mean() - second.mean())


def test_the_interval_of_an_accuracy_is_wilsons():
    accuracy, low, high = accuracy_interval(np.arange(100) < 60)
    z, n = 1.959964, 100
    middle, half = (0.6 + z**2 / 2 / n) / (1 + z**2 / n), z / (1 + z**2 / n) * (0.24 / n + z**2 / 4 / n**2) ** 0.5
    assert (accuracy, low, high) == pytest.approx((0.6, middle - half, middle + half), abs=1e-6)


def test_a_small_p_is_never_written_as_zero():
    assert (p_value(0.0123), p_value(1.0), p_value(3.2e-5)) == ("0.012", "1.000", "3e-05")
