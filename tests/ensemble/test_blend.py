"""A blend is numpy's mean, row by row, of members that fit together; blends nest, and run folders are blended again."""

import numpy as np
import pytest

from src.data import competition
from src.ensemble.blend import mean_blend
from src.ensemble.predictions import Predictions, load_predictions, save_predictions
from src.ensemble.reblend import blend_runs
from src.errors import UserError
from src.submit.check import check_submission


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
    blended = mean_blend(members)
    assert blended.valid_rows.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(blended.valid, expected, rtol=1e-6)
    np.testing.assert_allclose(blended.test, np.mean([m.test.astype(float) for m in members], axis=0), rtol=1e-6)
    reverse = mean_blend(members[::-1])
    np.testing.assert_allclose(reverse.valid, blended.valid, rtol=1e-6)
    np.testing.assert_allclose(reverse.test, blended.test, rtol=1e-6)


def test_the_header_names_the_members_and_keeps_what_they_share():
    blended = mean_blend([member("a", [1], 1), member("b", [1], 2)])
    assert blended.header == {"member": "a+b", "data_digest": "d1", "recipe": "r"}


def test_a_blend_of_blends_is_a_predictions_file_again(tmp_path):
    """Rounding errors of 40 members do not add up."""
    halves = [mean_blend([member(f"m{s}", list(range(s, s + 5)), s) for s in part]) for part in np.split(np.r_[:40], 2)]
    for number, half in enumerate(halves):
        save_predictions(tmp_path / f"{number}.npz", half)
    blended = mean_blend([load_predictions(tmp_path / f"{number}.npz", "d1", 6) for number in range(2)])
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
        mean_blend(members)


def run_folder(folder, digest: str, *members: Predictions):
    (folder / "predictions").mkdir(parents=True)
    for one in members:
        held = Predictions(one.header | {"data_digest": digest}, one.valid_rows, one.valid, one.test)
        save_predictions(folder / "predictions" / f"{one.header['member']}.npz", held)
    return folder


def test_runs_and_earlier_blends_are_blended(tmp_path, faces):
    digest = competition.read_competition(faces).digest
    members = [member(name, [0, 3, 7], seed, test=80) for seed, name in enumerate("abc")]
    two = run_folder(tmp_path / "two", digest, *members[:2])
    one = run_folder(tmp_path / "one", digest, members[2])
    assert blend_runs([two], faces, tmp_path / "first").startswith("mean of 2: ")
    line = blend_runs([tmp_path / "first", one], faces, tmp_path / "second", "no_header")
    assert line.startswith("mean of 2: ") and "of 3 validation rows" in line
    expected = (np.mean([m.test for m in members[:2]], axis=0) + members[2].test) / 2
    labels = check_submission(tmp_path / "second" / "submission.csv", 80).labels
    np.testing.assert_array_equal(labels, expected.argmax(1))


def test_what_cannot_be_blended_is_refused_and_nothing_is_written(tmp_path, faces):
    digest, output = competition.read_competition(faces).digest, tmp_path / "out"
    run = run_folder(tmp_path / "run", digest, member("a", [0, 299], 0, test=80))
    beyond = run_folder(tmp_path / "beyond", digest, member("a", [0, 300], 0, test=80))
    (run / "run.json").touch()
    for runs, target, message in (
        ([tmp_path / "nothing"], output, "no predictions"),
        ([beyond], output, "validation row 300"),
        ([run_folder(tmp_path / "other", "other", member("a", [0], 0, test=80))], output, "other data"),
        ([run], run, "holds a run"),
    ):
        with pytest.raises(UserError, match=message):
            blend_runs(runs, faces, target)
    with pytest.raises(UserError, match="--blend median: choose one of mean"):
        blend_runs([run], faces, output, blend="median")
    assert not output.exists() and not (run / "submission.csv").exists()
