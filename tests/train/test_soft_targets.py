"""Soft targets against their formula, and a step and a training that learn them."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from src.train.fit import fit
from src.train.soft_targets import smoothed_rows, soft_target_rows, with_temperature
from src.train.trainer import Trainer
from tests.support.training import equal, make_job, make_member, weights


@pytest.fixture
def predicted() -> torch.Tensor:
    """Probabilities for 70 rows, some of them 0 and 1."""
    found = np.random.default_rng(1).dirichlet(np.full(7, 0.3), 70).astype(np.float32)
    found[0] = np.eye(7)[3]
    return torch.from_numpy(found)


@pytest.mark.parametrize(("weight", "temperature", "smoothing"), [(0.5, 1.0, 0.0), (0.3, 2.0, 0.1), (1.0, 0.5, 0.2)])
def test_a_target_is_the_mean_of_smoothed_label_and_prediction(rows, predicted, weight, temperature, smoothing):
    member = make_member(soft_target_weight=weight, soft_target_temperature=temperature, label_smoothing=smoothing)
    found = soft_target_rows(rows.labels, predicted, member).numpy()
    sharpened = np.maximum(predicted.numpy().astype(np.float64), 1e-7) ** (1 / temperature)
    label = (1 - smoothing) * np.eye(7)[rows.labels.numpy()] + smoothing / 7
    expected = (1 - weight) * label + weight * sharpened / sharpened.sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_temperature_one_changes_nothing_and_higher_ones_flatten(predicted):
    torch.testing.assert_close(with_temperature(predicted, 1.0), predicted, atol=1e-5, rtol=0)
    entropies = [-(p * p.log()).nansum(1).mean() for p in (with_temperature(predicted, t) for t in (0.5, 1, 2, 4))]
    assert entropies == sorted(entropies)


@pytest.mark.parametrize("balancing", ["none", "weights"])
def test_a_step_descends_the_cross_entropy_with_the_targets_and_smooths_them_no_more(rows, predicted, balancing):
    settings = {"network": "linear", "optimizer": "sgd", "momentum": 0, "lr": 0.1, "label_smoothing": 0.2}
    trainer = Trainer(make_job(rows, targets=predicted, class_balancing=balancing, **settings))
    net = copy.deepcopy(trainer.net)
    x, y = next(iter(trainer.batches(trainer.new_epoch())))
    weight = trainer.loss_weights if balancing == "weights" else torch.ones(7)
    expected = -(y * weight * F.log_softmax(net(x), 1)).sum() / (y @ weight).sum()
    loss, hits = trainer.step(x, y)
    torch.testing.assert_close(loss, expected.detach())
    assert hits == (net(x).argmax(1) == y.argmax(1)).sum()


def test_targets_of_one_hot_rows_give_the_training_of_the_labels_and_others_another(rows, predicted):
    settings = {"network": "linear", "optimizer": "sgd", "lr": 0.01}
    hard = smoothed_rows(rows.labels, 0.0)
    by_label, by_row, soft = (fit(make_job(rows, targets=t, **settings)) for t in (None, hard, predicted))
    for one, other in zip(by_label.net.parameters(), by_row.net.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert not equal(weights(by_label.net), weights(soft.net))


def test_soft_targets_are_mixed_too(rows, predicted):
    trainer = Trainer(make_job(rows, network="linear", targets=predicted, mixup=1.0))
    plain = Trainer(make_job(rows, network="linear", targets=predicted))
    (_, mixed), (_, soft) = (next(iter(t.batches(t.new_epoch()))) for t in (trainer, plain))
    kept = ((mixed - soft.roll(1, 0)) / (soft - soft.roll(1, 0))).median()
    torch.testing.assert_close(mixed, kept * soft + (1 - kept) * soft.roll(1, 0), atol=1e-4, rtol=0)
