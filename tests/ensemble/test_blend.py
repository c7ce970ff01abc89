"""The blend is numpy's mean, row by row, of members that go together."""

import numpy as np
import pytest

from src.ensemble.blend import mean
from src.ensemble.predictions import HEADER, Predictions, load, save
from src.errors import UserError


def member(name: str, rows: list[int], seed: int, test: int = 6, data: str = "d1") -> Predictions:
    draw = np.random.default_rng(seed).dirichlet
    header = dict.fromkeys(HEADER, "x") | {"member": name, "data_digest": data}
    valid, tests = (draw(np.ones(7), count).astype(np.float32) for count in (len(rows), test))
    return Predictions(header, np.array(rows, dtype=np.int64), valid, tests)


def test_members_of_one_fold_are_averaged():
    members = [member(name, [1, 4, 9], seed) for seed, name in enumerate("abc")]
    blended = mean(members)
    assert blended.valid_rows.tolist() == [1, 4, 9]
    np.testing.assert_allclose(blended.valid, np.mean([m.valid.astype(float) for m in members], axis=0), rtol=1e-6)
    np.testing.assert_allclose(blended.test, np.mean([m.test.astype(float) for m in members], axis=0), rtol=1e-6)


def test_members_of_different_folds_have_all_their_rows_and_each_row_its_own_member():
    first, second = member("a", [7, 3], 1), member("b", [5, 0, 9], 2)
    blended = mean([first, second])
    assert blended.valid_rows.tolist() == [0, 3, 5, 7, 9]
    np.testing.assert_array_equal(blended.valid[[3, 1]], first.valid)
    np.testing.assert_array_equal(blended.valid[[2, 0, 4]], second.valid)
    np.testing.assert_allclose(blended.test, (first.test + second.test) / 2, rtol=1e-6)


def test_rows_of_some_members_are_the_mean_of_those():
    members = [member("a", [1, 2, 3], 1), member("b", [3, 2], 2), member("c", [3], 3)]
    given = {
        row: [m.valid[list(m.valid_rows).index(row)].astype(float) for m in members if row in m.valid_rows]
        for row in (1, 2, 3)
    }
    assert [len(probs) for probs in given.values()] == [1, 2, 3]
    blended = mean(members)
    np.testing.assert_allclose(blended.valid, [np.mean(probs, axis=0) for probs in given.values()], rtol=1e-6)


def test_one_member_alone_stays_as_it_is():
    alone = member("a", [2, 5], 1)
    blended = mean([alone])
    for name in ("valid_rows", "valid", "test"):
        np.testing.assert_array_equal(getattr(blended, name), getattr(alone, name))


def test_the_order_of_the_members_does_not_matter():
    members = [member("a", [1, 2], 1), member("b", [2, 3], 2), member("c", [9], 3)]
    one, other = mean(members), mean(members[::-1])
    np.testing.assert_array_equal(one.valid_rows, other.valid_rows)
    np.testing.assert_allclose(one.valid, other.valid, rtol=1e-6)
    np.testing.assert_allclose(one.test, other.test, rtol=1e-6)


def test_members_are_left_as_they_were():
    first = member("a", [1, 2], 1)
    before = first.valid.copy(), first.test.copy(), dict(first.header)
    mean([first, member("b", [1, 2], 2)])
    assert np.array_equal(first.valid, before[0]) and np.array_equal(first.test, before[1])
    assert first.header == before[2]


def test_a_blend_keeps_the_contract_of_a_predictions_file(tmp_path):
    """Of 40 members too: rounding does not add up."""
    blended = mean([member(f"m{seed}", list(range(seed, seed + 5)), seed) for seed in range(40)])
    save(tmp_path / "blend.npz", blended)
    back = load(tmp_path / "blend.npz", "d1", 6)
    assert np.array_equal(back.valid, blended.valid) and np.array_equal(back.test, blended.test)
    assert back.valid_rows.dtype == np.int64 and back.valid.dtype == back.test.dtype == np.float32
    assert np.abs(back.test.sum(1) - 1).max() < 1e-5


def test_the_blend_names_its_members():
    assert mean([member("a", [1], 1), member("b", [1], 2)]).header["member"] == "a+b"


def test_nothing_to_blend_is_refused():
    with pytest.raises(UserError, match="no member has finished"):
        mean([])


def test_members_from_other_data_are_refused_with_their_digests():
    with pytest.raises(UserError, match=r"data differs \(d1, d2\)"):
        mean([member("a", [1], 1), member("b", [1], 2, data="d2")])


def test_members_with_other_numbers_of_test_rows_are_refused_with_them():
    with pytest.raises(UserError, match=r"number of test rows differs \(5, 6\)"):
        mean([member("a", [1], 1), member("b", [1], 2, test=5)])
