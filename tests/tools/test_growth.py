"""How the accuracy of a mean grows with its members: against the accuracies of the members and of their mean."""

import math

import numpy as np
import pytest

from src.main import main
from tests.conftest import fake_bundle
from tools import growth

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 7, 2000)


def noisy(labels: np.ndarray, members: int) -> np.ndarray:
    """Probabilities (m, n, 7) of members that know the labels, each with noise of its own."""
    noise = np.random.default_rng(1).normal(0, 1, (members, len(labels), 7))
    scores = np.exp(np.eye(7)[labels] + noise)
    return scores / scores.sum(2, keepdims=True)


def test_one_member_is_the_average_of_all_and_all_members_are_their_mean(labels):
    probs = noisy(labels, 5)
    found = growth.growth(probs, labels)
    alone = (probs.argmax(2) == labels).mean(1)
    assert [one.k for one in found] == [1, 2, 3, 4, 5]
    assert (found[0].accuracy, found[0].deviation) == pytest.approx((alone.mean(), alone.std()))
    assert found[-1].accuracy == pytest.approx((probs.mean(0).argmax(1) == labels).mean())
    assert found[-1].choices == 1 and found[-1].deviation == 0


def test_noise_that_members_do_not_share_is_averaged_out_and_shared_noise_is_not(labels):
    own = [one.accuracy for one in growth.growth(noisy(labels, 6), labels)]
    assert own == sorted(own) and own[-1] > own[0] + 0.2
    shared = [one.accuracy for one in growth.growth(np.repeat(noisy(labels, 1), 6, axis=0), labels)]
    assert shared == pytest.approx([shared[0]] * 6)


@pytest.mark.parametrize(("count", "k"), [(4, 2), (10, 5), (28, 14)])
def test_choices_are_all_or_as_many_as_allowed_of_different_members(count, k):
    chosen = growth.choices(count, k)
    assert len(chosen) == min(math.comb(count, k), growth.MAX_CHOICES)
    assert all(len(set(one)) == k and set(one) <= set(range(count)) for one in chosen)
    assert chosen == growth.choices(count, k)


def test_the_command_counts_networks_on_validation_rows_and_members_on_publictest(faces, tmp_path, capsys):
    output = tmp_path / "out"
    settings = ["epochs=1", "max_train_rows=100", "folds=2", "fold=all"]
    command = ["run", "--recipe", "quick", "--device", "cpu", "--no-report", "--set", *settings]
    assert main([*command, "--input", str(faces), "--output", str(output)], fake_bundle()) == 0
    capsys.readouterr()
    assert growth.main([str(output), "--input", str(faces)]) == 0
    valid, public = capsys.readouterr().out.split("\n\n")
    assert valid.startswith("validation, ") and public.startswith("PublicTest, ")
    assert [len(text.splitlines()) for text in (valid, public)] == [2 + 2, 2 + 4]


def test_a_folder_without_a_run_is_the_users_error_in_one_line(faces, tmp_path, capsys):
    assert growth.main([str(tmp_path), "--input", str(faces)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and str(tmp_path) in error and len(error.splitlines()) == 1
