"""The range test finds the limit of a quadratic, uses the trainer's steps, and suggests a rate below the limit."""

import numpy as np
import pytest
import torch

from src.data.batches import LabelledImages
from src.errors import UserError
from src.train.lr_range import HIGHEST, LOWEST, STEEPEST, TENTH, MovingAverage, RangeTest, range_test, sweep
from src.train.trainer import Trainer
from tests.support.training import make_job

RATES = np.geomspace(LOWEST, HIGHEST, 200)


class Quadratic:
    """Gradient descent on curvature · w² / 2 + 1; it converges for rates below 2 / curvature (Nesterov 2004)."""

    def __init__(self, curvature: float):
        self.curvature, self.w = curvature, 3.0

    def __call__(self, lr: float) -> float:
        loss = self.curvature * self.w**2 / 2 + 1
        self.w -= lr * self.curvature * self.w
        return loss


@pytest.mark.parametrize("curvature", [4.0, 40.0, 400.0])
def test_a_quadratic_explodes_behind_its_limit_and_the_suggestion_is_below_it(curvature):
    found, limit = sweep(Quadratic(curvature), RATES), 2 / curvature
    lr, _ = found.suggestion()
    assert found.exploded and limit < found.lrs[-1] < 10 * limit
    assert limit / 200 < lr < limit
    assert len(found.lrs) == len(found.losses) == len(found.smoothed)


def test_the_test_ends_where_the_smoothed_loss_is_four_times_its_lowest():
    losses = iter([2.0] * 30 + [1.0] * 60 + [1.05**step for step in range(110)])
    found = sweep(lambda lr: next(losses), RATES)
    *before, last = found.smoothed / found.smoothed.min()
    assert found.exploded and last > 4 >= max(before)


def test_a_loss_that_is_not_finite_ends_the_test_without_it():
    losses = iter([2.0] * 30 + [1.0] * 20 + [float("nan")])
    found = sweep(lambda lr: next(losses), RATES)
    assert found.exploded and len(found.losses) == 50 and np.isfinite(found.losses).all()


def test_a_first_loss_that_is_not_finite_is_told():
    with pytest.raises(UserError, match="the loss of the first step is nan, at the learning rate 1e-06"):
        sweep(lambda lr: float("nan"), RATES)


def curve(steepest: float, lowest: float) -> RangeTest:
    """The loss falls around one rate, and rises beyond another."""
    x = np.log10(RATES)
    fall = 1 / (1 + np.exp(-6 * (x - np.log10(steepest))))
    rise = np.exp(np.minimum(8 * (x - np.log10(lowest) - 0.5), 3))
    return RangeTest(RATES, 2 - fall + rise, False)


@pytest.mark.parametrize(("steepest", "lowest", "reason"), [(1e-3, 1.0, STEEPEST), (1e-2, 5e-2, TENTH)])
def test_the_smaller_of_both_rates_is_suggested_and_named(steepest, lowest, reason):
    found = curve(steepest, lowest)
    lr, why = found.suggestion()
    expected = steepest if reason == STEEPEST else lowest / 10
    assert why == reason and expected / 3 < lr < expected * 3


def test_where_no_rate_helps_nothing_is_suggested():
    assert RangeTest(RATES, np.full(200, 1.9), False).suggestion() is None
    assert RangeTest(RATES, np.linspace(1.9, 5, 200), True).suggestion() is None
    assert RangeTest(RATES[:3], np.ones(3), True).suggestion() is None


def test_the_moving_average_has_no_bias_to_zero():
    mean = MovingAverage()
    assert [mean(3.0) for _ in range(5)] == pytest.approx([3.0] * 5)


@pytest.mark.parametrize("settings", [{"optimizer": "sgd"}, {"mixup": 0.5, "schedule": "one_cycle"}])
def test_each_step_is_the_trainers_with_the_rate_of_the_test(rows: LabelledImages, monkeypatch, settings):
    used, step = [], Trainer.step

    def recorded(self, x, y):
        used.append(([group["lr"] for group in self.optimizer.param_groups], len(y), y.dtype))
        return step(self, x, y)

    monkeypatch.setattr(Trainer, "step", recorded)
    found = range_test(make_job(rows, network="linear", **settings), 60)
    assert [lr for (lr,), *_ in used][: len(found.lrs)] == pytest.approx(found.lrs.tolist())
    assert {size for _, size, _ in used} == {16, 6} or {size for _, size, _ in used} == {16}
    assert (used[0][2] == torch.float32) == ("mixup" in settings)
    again = range_test(make_job(rows, network="linear", **settings), 60)
    assert again.losses.tolist() == found.losses.tolist()


def test_layers_keep_the_ratio_of_their_rates(rows: LabelledImages, monkeypatch):
    used = []

    def grouped(member, net):
        weight, bias = net.parameters()
        return torch.optim.SGD([{"params": [weight], "lr": member.lr}, {"params": [bias], "lr": member.lr / 4}])

    monkeypatch.setattr("src.train.trainer.make_optimizer", grouped)
    step = Trainer.step

    def recorded(self, x, y):
        used.append([group["lr"] for group in self.optimizer.param_groups])
        return step(self, x, y)

    monkeypatch.setattr(Trainer, "step", recorded)
    range_test(make_job(rows, network="linear"), 60)
    assert all(first == pytest.approx(4 * second) for first, second in used)
    assert used[0][0] == pytest.approx(LOWEST)
