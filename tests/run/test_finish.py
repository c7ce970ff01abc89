"""Which members of a run on one fold its submission is the mean of, and which seeds have an accuracy."""

from types import SimpleNamespace

import numpy as np

from src.ensemble.predictions import Predictions
from src.run.finish import accuracy_by_seed, best_mean

ROWS = 400
LABELS = np.random.default_rng(0).integers(0, 7, ROWS)
COMMON = np.random.default_rng(1).standard_normal((ROWS, 7))


def member(strength: float, seed: int) -> Predictions:
    """Its logit of the label is `strength` above noise, most of which all members share."""
    noise = COMMON + 0.3 * np.random.default_rng(seed).standard_normal((ROWS, 7))
    valid = np.exp(strength * np.eye(7)[LABELS] + noise)
    header = {"member": str(seed), "data_digest": "x"}
    return Predictions(header, np.arange(ROWS), valid / valid.sum(1, keepdims=True), np.full((3, 7), 1 / 7))


def test_members_that_ruin_the_mean_are_left_out():
    members = [member(2, 1), member(2, 2), member(-9, 3), member(-9, 4)]
    number, mean = best_mean(members, LABELS)
    assert number == 2
    np.testing.assert_allclose(mean.valid, (members[0].valid + members[1].valid) / 2, rtol=1e-6)


def test_a_gain_within_its_standard_error_leaves_no_member_out():
    """The first ones alone are better, but by chance."""
    members = [member(2, seed) for seed in range(12)]
    right = [(np.mean([m.valid for m in members[:n]], 0).argmax(1) == LABELS).sum() for n in range(1, 13)]
    assert max(right) > right[-1]
    assert best_mean(members, LABELS)[0] == 12


def test_of_one_member_it_is_that_one():
    assert best_mean([member(1, 0)], LABELS)[0] == 1


def test_a_seed_without_all_of_its_members_has_no_accuracy():
    """Else the seeds would be compared on other rows, by fewer members."""
    names = ["a-f0-s0", "a-f1-s0", "a-f0-s1", "a-f1-s1"]
    context = SimpleNamespace(
        recipe=SimpleNamespace(seeds="0,1"),
        member_names=names,
        data=SimpleNamespace(train=SimpleNamespace(labels=LABELS)),
    )
    members = {name: member(2, number) for number, name in enumerate(names)}
    assert list(accuracy_by_seed(context, members)) == ["0", "1"]
    del members["a-f1-s1"]
    assert list(accuracy_by_seed(context, members)) == ["0"]
