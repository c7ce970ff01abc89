"""A blend is numpy's mean, row by row, of members that fit together, and blends nest."""

import numpy as np
import pytest

from src.ensemble.blend import blend, fitted_blend
from src.ensemble.methods import METHODS
from src.ensemble.predictions import Predictions, load_predictions, save_predictions
from src.errors import UserError


def member(name: str, rows: list[int], seed: int, test: int = 6, data: str = "d1") -> Predictions:
    draw = np.random.default_rng(seed).dirichlet
    header = {"member": name, "data_digest": data, "recipe": "r", "seed": seed}
    valid, tests = (draw(np.ones(7), count).astype(np.float32) for count in (len(rows), test))
    return Predictions(header, np.array(rows, dtype=np.int64), valid, tests)


def test_a_row_is_the_mean_of_the_members_that_predicted_it():
    members = [member("a", [1, 2, 3], 1), member("b", [3, 2], 2), member("c", [3, 0], 3)]
    expected = [
        np.mean([m.valid[m.valid_rows == row][0].astype(float) for m in members if row in m.valid_rows], axis=0)
        for row in range(4)
    ]
    blended = blend(members)
    assert blended.valid_rows.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(blended.valid, expected, rtol=1e-6)
    np.testing.assert_allclose(blended.test, np.mean([m.test.astype(float) for m in members], axis=0), rtol=1e-6)
    reverse = blend(members[::-1])
    np.testing.assert_allclose(reverse.valid, blended.valid, rtol=1e-6)
    np.testing.assert_allclose(reverse.test, blended.test, rtol=1e-6)


def test_the_header_names_the_members_and_keeps_what_they_share():
    blended = blend([member("a", [1], 1), member("b", [1], 2)])
    assert blended.header == {"member": "a+b", "data_digest": "d1", "recipe": "r"}


def test_a_blend_of_blends_is_a_predictions_file_again(tmp_path):
    """Rounding errors of 40 members do not add up."""
    halves = [blend([member(f"m{s}", list(range(s, s + 5)), s) for s in part]) for part in np.split(np.r_[:40], 2)]
    for number, half in enumerate(halves):
        save_predictions(tmp_path / f"{number}.npz", half)
    blended = blend([load_predictions(tmp_path / f"{number}.npz", "d1", 6) for number in range(2)])
    save_predictions(tmp_path / "blend.npz", blended)
    back = load_predictions(tmp_path / "blend.npz", "d1", 6)
    assert np.array_equal(back.valid, blended.valid) and np.array_equal(back.test, blended.test)
    assert np.abs(back.test.sum(1) - 1).max() < 1e-5
    assert back.valid_rows.tolist() == list(range(44))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "no member has finished"),
        ([member("a", [1], 1), member("b", [1], 2, data="d2")], r"data differs \(d1, d2\)"),
        ([member("a", [1], 1), member("b", [1], 2, test=5)], r"number of test rows differs \(5, 6\)"),
    ],
    ids=["none", "data", "test rows"],
)
def test_members_that_do_not_fit_together_are_refused(members, message):
    with pytest.raises(UserError, match=message):
        blend(members)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_probabilities_for_members_of_different_folds(tmp_path, name):
    members = [member("a", [1, 2, 3], 1), member("b", [4, 5, 2], 2), member("c", [3, 0], 3)]
    blended = fitted_blend(members, name, np.random.default_rng(0).integers(0, 7, 6))
    save_predictions(tmp_path / "blend.npz", blended)  # it refuses what are no probabilities
    assert blended.valid.shape == (6, 7) and blended.test.shape == (6, 7)
