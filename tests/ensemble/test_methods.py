"""Blends on made-up predictions whose best answer is known, the choice among them, and calibration."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import log_loss as sklearn_log_loss

from src.config import BLENDS, UNFITTED_BLENDS
from src.ensemble.blend import compare_blends, fitted_blend
from src.ensemble.calibration import (
    calibrated_mean,
    calibration_line,
    fit_temperature,
    with_temperature,
)
from src.ensemble.means import log_loss, log_mean, mean, weighted_mean
from src.ensemble.merging import merge_folds
from src.ensemble.methods import AUTO, METHODS, BlendFigures, choose, compare, cross_fitted, figures_table
from src.ensemble.predictions import Predictions
from src.ensemble.weighting import greedy, log_loss_weights, of_labels
from src.errors import UserError

ROWS = 3000


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def made_up(strengths, rows: int = ROWS, seed: int = 0):
    """Labels, and members (m, n, 7) whose logits are the label's, `strengths` times, in noise of their own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, rows)
    logits = [strength * np.eye(7)[labels] + rng.standard_normal((rows, 7)) for strength in strengths]
    return softmax(np.stack(logits)), labels


def weights_of(method, members: int) -> np.ndarray:
    """The weights by which a blend averages: what is left where one member alone gives class 0."""
    probs = np.zeros((members, members, 7))
    probs[:, :, 1] = 1.0
    probs[range(members), range(members)] = np.eye(7)[0]
    return method(probs)[:, 0]


def test_every_name_that_a_recipe_takes_is_a_blend():
    assert (*METHODS, AUTO) == BLENDS


def test_the_weights_have_the_lowest_log_loss():
    probs, labels = made_up([2.0, 1.0, 0.0])
    found = weights_of(log_loss_weights(probs, labels), 3)
    likelihood = of_labels(probs, labels)

    def loss(logits):
        return -np.log(softmax(logits) @ likelihood).mean()

    best = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 4000})
    np.testing.assert_allclose(found, softmax(best.x), atol=0.01)
    assert found[0] > found[1] > found[2]


def test_greedy_selection_takes_the_good_members_and_leaves_the_one_that_says_nothing():
    probs, labels = made_up([2.0, 2.0, 2.0, 0.0])
    found = weights_of(greedy(probs, labels), 4)
    assert found[3] < 0.02 and found[:3].min() > 0.2 and found.sum() == pytest.approx(1, abs=1e-3)
    np.testing.assert_array_equal(found, weights_of(greedy(probs, labels), 4))  # its bags are always the same


def test_greedy_selection_finds_the_only_good_member_of_a_few():
    """A bag of half the members often lacks it."""
    probs, labels = made_up([3.0, 0.3, 0.2, 0.1, 0.1, 0.0])
    blended = greedy(probs, labels)(probs)
    assert log_loss(blended, labels) < log_loss(probs[0], labels) + 1e-3


def test_stacking_finds_the_member_whose_classes_are_swapped():
    """A mean must fail: what the member calls class 0 is class 1, and the reverse."""
    probs, labels = made_up([3.0, 0.0])
    probs[0] = probs[0][:, [1, 0, 2, 3, 4, 5, 6]]
    figures = compare(probs, labels)
    assert figures["stacking"].accuracy > figures["mean"].accuracy + 0.1
    assert choose(figures) == "stacking"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", METHODS)
def test_members_that_agree_and_avoid_a_class_are_blended_without_a_warning(name):
    rng = np.random.default_rng(0)
    labels = rng.choice(7, ROWS, p=[0.2, *[0.8 / 6] * 6])
    common = 3 * np.eye(7)[labels] + 2 * rng.standard_normal((ROWS, 7)) - 5 * np.eye(7)[0]
    noise = rng.standard_normal((5, ROWS, 7))
    probs = softmax(np.array([0.2, 0.5, 1.0, 1.5, 2.0])[:, None, None] * common + 0.3 * noise)
    assert np.isfinite(METHODS[name](probs, labels)(probs)).all()


def test_a_temperature_undoes_what_made_a_member_too_sure():
    probs, labels = made_up([2.0])
    honest = fit_temperature(probs[0], labels)
    sure = with_temperature(probs[0], 0.5)
    assert fit_temperature(sure, labels) == pytest.approx(2 * honest, rel=0.02)
    np.testing.assert_allclose(with_temperature(sure, 2), probs[0], atol=1e-4)
    blended = calibrated_mean(np.stack([sure, probs[0]]), labels)(np.stack([sure, probs[0]]))
    assert log_loss(blended, labels) < log_loss(mean(np.stack([sure, probs[0]])), labels)


@pytest.mark.parametrize("name", METHODS)
def test_every_blend_gives_probabilities_and_ignores_a_member_that_lacks_a_row(name):
    probs, labels = made_up([2.0, 1.0, 1.5], rows=300)
    probs[1, ::3] = np.nan
    blended = METHODS[name](probs, labels)(probs)
    assert blended.shape == (300, 7) and (blended >= 0).all()
    np.testing.assert_allclose(blended.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_of_equal_members_every_blend_keeps_the_classes_of_one(name):
    probs, labels = made_up([2.5], rows=600)
    blended = METHODS[name](np.repeat(probs, 3, 0), labels)(np.repeat(probs, 3, 0))
    assert (blended.argmax(1) == probs[0].argmax(1)).mean() > 0.9


@pytest.mark.parametrize("name", METHODS)
def test_a_rows_label_has_no_part_in_its_own_cross_fitted_blend(name):
    """The part of the rows that holds row 7 is fitted to the others, so another label there changes nothing for it."""
    probs, labels = made_up([1.0, 0.5, 0.2], rows=200)
    before = cross_fitted(name, probs, labels)
    changed = labels.copy()
    changed[7] = (labels[7] + 1) % 7
    after = cross_fitted(name, probs, changed)
    np.testing.assert_array_equal(before[7], after[7])


def test_the_mean_stays_unless_another_gains_more_than_its_standard_error():
    def figures(gain, error):
        return BlendFigures(0.6 + gain, 1.0, gain, error)

    base = {"mean": figures(0.0, 0.0)}
    assert choose({}) == choose(base) == choose(base | {"greedy": figures(0.004, 0.005)}) == "mean"
    found = base | {"greedy": figures(0.006, 0.005), "weights": figures(0.009, 0.02), "stacking": figures(0.008, 0.007)}
    assert choose(found) == "stacking"


def test_figures_are_those_of_plain_formulas():
    probs, labels = made_up([2.0, 1.0], rows=500)
    found = compare(probs, labels)
    for name in ("mean", "log_mean"):
        blended = {"mean": mean, "log_mean": log_mean}[name](probs)
        right = blended.argmax(1) == labels
        assert found[name].accuracy == pytest.approx(right.mean())
        assert found[name].log_loss == pytest.approx(sklearn_log_loss(labels, blended, labels=range(7)), rel=1e-6)
        gains = right.astype(float) - (mean(probs).argmax(1) == labels)
        assert found[name].gain == pytest.approx(gains.mean())
        assert found[name].gain_error == pytest.approx(gains.std(ddof=1) / 500**0.5)
    text = "\n".join(figures_table(found, 500))
    assert all(f"  {name} " in text for name in METHODS) and f"{100 * found['mean'].accuracy:.2f} ±" in text


def test_a_weighted_mean_is_numpys_where_all_members_have_the_row():
    probs, _ = made_up([1.0, 2.0, 3.0], rows=50)
    weights = np.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(weighted_mean(weights)(probs), np.average(probs, axis=0, weights=weights), atol=1e-6)


def test_the_line_of_the_calibration_tells_that_a_temperature_helps():
    probs, labels = made_up([2.0])
    words = calibration_line(with_temperature(probs[0], 0.3), labels).split()
    before, after, temperature = (float(words[i]) for i in (4, 7, -1))
    assert before > 4 * after and temperature == pytest.approx(0.3**-1 * fit_temperature(probs[0], labels), rel=0.05)


# ------------------------------------------------------------------------------------------ folds as one


def of_fold(fold: int, name: str = "m", seed: int = 0, network: int = 0) -> Predictions:
    """A member that predicted every third row."""
    rng, rows = np.random.default_rng([fold, seed, network]), np.arange(fold, 30, 3)
    header = {"member": f"{name}-f{fold}-s{seed}", "data_digest": "d", "recipe": "r", "seed": seed, "fold": fold}
    return Predictions(header, rows, *(rng.dirichlet(np.ones(7), n).astype(np.float32) for n in (10, 4)))


def test_the_folds_of_a_member_are_one_with_all_rows_and_the_mean_of_the_tests():
    members = [of_fold(fold, seed=seed) for seed in (0, 1) for fold in range(3)]
    first, second = merge_folds(members)
    assert (first.header["member"], second.header["member"]) == ("m-s0", "m-s1")
    assert first.valid_rows.tolist() == list(range(30))
    np.testing.assert_array_equal(first.valid[4], members[1].valid[1])
    np.testing.assert_allclose(first.test, np.mean([m.test for m in members[:3]], axis=0), rtol=1e-6)


def test_a_run_of_one_fold_is_one_of_the_folds_of_that_network():
    alone = of_fold(2)
    alone = replace(alone, header=alone.header | {"member": "m"})  # as such a run names its member
    for members in ([of_fold(0), of_fold(1), alone], [alone, of_fold(0), of_fold(1)]):
        (merged,) = merge_folds(members)
        assert merged.valid_rows.tolist() == list(range(30))


def test_the_folds_of_two_runs_with_other_settings_are_two():
    members = [of_fold(fold, network=network) for network in (0, 1) for fold in range(3)]
    told = [replace(m, header=m.header | {"config_hash": f"h{n // 3}"}) for n, m in enumerate(members)]
    first, second = merge_folds(told)
    assert first.valid_rows.tolist() == second.valid_rows.tolist() == list(range(30))
    np.testing.assert_allclose(second.test, np.mean([m.test for m in members[3:]], axis=0), rtol=1e-6)
    apart = [replace(m, header=m.header | {"config_hash": f"h{n}"}) for n, m in enumerate(members[:3])]
    assert len(merge_folds(apart)) == 1  # runs of one fold each have settings of their own


def test_members_that_share_rows_or_name_no_fold_stay_apart():
    twice = [of_fold(0), of_fold(0, network=1)]
    nameless = [replace(of_fold(fold), header={"member": "m", "data_digest": "d"}) for fold in (0, 1)]
    assert merge_folds(twice) == twice and merge_folds(nameless) == nameless


def test_blends_of_two_networks_of_three_folds_compare_two_columns():
    labels = np.random.default_rng(0).integers(0, 7, 30)
    members = [of_fold(fold, name, network=n) for n, name in enumerate("ab") for fold in range(3)]
    columns, figures = compare_blends(members, labels)
    assert columns == 2 and list(figures) == list(METHODS)
    assert compare_blends(members[:3], labels) == (1, {})
    blended = fitted_blend(members, "greedy", labels)
    assert blended.valid_rows.tolist() == list(range(30)) and blended.test.shape == (4, 7)


def test_a_blend_that_must_be_fitted_needs_rows():
    nothing = np.empty(0, np.int64), np.empty((0, 7), np.float32)
    members = [Predictions(of_fold(0, n).header | {"fold": "none"}, *nothing, of_fold(0, n).test) for n in "ab"]
    with pytest.raises(UserError, match="blend greedy: 0 validation rows are too few to fit it"):
        fitted_blend(members, "greedy", np.zeros(30, np.int64))
    for name in (*UNFITTED_BLENDS, AUTO):
        name = choose(compare_blends(members, np.zeros(30, np.int64))[1]) if name == AUTO else name
        assert fitted_blend(members, name, np.zeros(30, np.int64)).test.shape == (4, 7)
