"""Learning-rate schedules by their shape, and against torch's."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from src import models
from src.train.optimizer import make_optimizer
from src.train.schedule import LRSchedule
from tests.support.training import make_member

KINDS = ["constant", "plateau", "cosine", "one_cycle"]


def learning_rates(steps: int, losses: list[float] | None = None, **settings) -> list[float]:
    """The learning rate of each step of a whole training; `losses` are the validation losses of its epochs."""
    member, seen = make_member(optimizer="sgd", **settings), []
    optimizer = make_optimizer(member, nn.Linear(1, 1))
    schedule = LRSchedule(member, optimizer, steps)
    for loss in losses or [1.0] * settings["epochs"]:
        for _ in range(steps):
            seen.append(schedule.lr)
            optimizer.step()
            schedule.step()
        schedule.end_epoch(loss)
    return seen


def rises(values: list[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


def falls(values: list[float]) -> bool:
    return rises(values[::-1])


def test_constant_is_constant():
    assert learning_rates(5, epochs=3, lr=0.3, schedule="constant") == [0.3] * 15


def test_constant_with_warm_up_rises_in_equal_parts_and_stays():
    seen = learning_rates(5, epochs=4, lr=0.6, schedule="constant", warmup_fraction=0.25)
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5] + [0.6] * 15)


def test_cosine_is_half_a_cosine_from_the_peak_to_nearly_zero():
    seen = learning_rates(10, epochs=4, lr=0.2, schedule="cosine")
    assert seen == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 40)) for step in range(40)])
    assert seen[0] == 0.2 and falls(seen) and 0 < seen[-1] < 0.001


def test_cosine_with_warm_up_starts_low_peaks_at_its_end_and_falls_to_nearly_zero():
    seen = learning_rates(10, epochs=4, lr=0.2, schedule="cosine", warmup_fraction=0.25)
    assert seen[0] == pytest.approx(0.2 / 11)
    assert seen[10] == max(seen) == 0.2
    assert rises(seen[:11]) and falls(seen[10:]) and 0 < seen[-1] < 0.001


def test_a_plateau_that_is_shortened_in_its_warm_up_reaches_the_peak():
    member = make_member(optimizer="sgd", epochs=10, lr=1.0, schedule="plateau", warmup_fraction=0.5)
    optimizer = make_optimizer(member, nn.Linear(1, 1))
    schedule, seen = LRSchedule(member, optimizer, 10), []
    for step in range(30):
        if step == 20:
            schedule.epochs = 3
        optimizer.step()
        schedule.step()
        seen.append(schedule.lr)
    assert rises(seen[:20]) and seen[19] < 0.5 and seen[20:] == [1.0] * 10


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.1])
def test_a_cosine_of_some_epochs_comes_back_as_torchs_does_past_its_t_max(warmup_fraction):
    """The notebooks' T_max of 10 in 50 epochs: down in ten epochs, up in ten, and so on."""
    seen = learning_rates(6, epochs=50, lr=0.2, schedule="cosine", cosine_epochs=10, warmup_fraction=warmup_fraction)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.2)
    reference, expected = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10 * 6), []
    for _ in range(300):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    warmup_steps = round(300 * warmup_fraction)
    assert seen[warmup_steps:] == pytest.approx(expected[: 300 - warmup_steps], abs=1e-9)
    assert rises(seen[: warmup_steps + 1]) and seen[warmup_steps + 60] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("warmup_fraction", "peak"), [(0.2, 7), (0.5, 19), (0.0, 11)])
def test_one_cycle_peaks_where_the_warm_up_ends(warmup_fraction, peak):
    """Without a warm-up of its own it is torch's three tenths."""
    seen = learning_rates(10, epochs=4, lr=0.2, schedule="one_cycle", warmup_fraction=warmup_fraction)
    assert seen[peak] == max(seen) == pytest.approx(0.2)
    assert seen[0] == pytest.approx(0.2 / 25) and seen[-1] < 1e-6
    assert rises(seen[: peak + 1]) and falls(seen[peak:])


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_of_any_few_steps_goes_through_at_rates_within_the_peak(kind, epochs, warmup_fraction):
    """One cycle once divided by zero where its rise was one step long: 5 steps and a warm-up of a fifth."""
    for steps in (1, 2):
        seen = learning_rates(steps, epochs=epochs, lr=0.2, schedule=kind, warmup_fraction=warmup_fraction)
        assert len(seen) == epochs * steps and all(0 < lr <= 0.2 + 1e-9 for lr in seen)


def per_epoch(seen: list[float], steps: int) -> list[float]:
    """The rate of each epoch, if it is the same at each of its steps."""
    assert all(len(set(seen[at : at + steps])) == 1 for at in range(0, len(seen), steps))
    return seen[::steps]


def test_plateau_falls_by_its_factor_after_one_bad_epoch_more_than_its_patience():
    losses = [1.0, 0.9, 0.9, 0.95, 0.9, 0.9, 0.9, 0.9, 0.9]
    seen = learning_rates(3, losses, epochs=9, lr=0.4, schedule="plateau", lr_patience=2, lr_factor=0.5)
    assert per_epoch(seen, 3) == pytest.approx([0.4] * 5 + [0.2] * 3 + [0.1])


def test_plateau_does_not_fall_in_the_warm_up_and_is_not_reset_after_it():
    """Two epochs of warm-up with a loss that never improves; with no patience each later epoch but the first falls."""
    seen = learning_rates(
        4, [1.0] * 6, epochs=6, lr=0.9, schedule="plateau", warmup_fraction=1 / 3, lr_patience=0, lr_factor=0.5
    )
    assert seen[:8] == pytest.approx([0.1 * step for step in range(1, 9)])
    # The second epoch ends with the warm-up, so its loss is the first one that counts.
    assert per_epoch(seen[8:], 4) == pytest.approx([0.9, 0.45, 0.225, 0.1125])


@pytest.mark.parametrize("kind", KINDS)
def test_every_schedule_keeps_the_layers_learning_rates_in_proportion(kind):
    """Also for small ones: torch's plateau alone ignores a fall of less than 1e-8."""
    settings = {"schedule": kind, "warmup_fraction": 0.2, "epochs": 20, "lr_patience": 0, "lr": 2e-5}
    member = make_member(optimizer="adamw", layer_decay=0.5, **settings)
    optimizer = make_optimizer(member, models.create("timm:test_vit", image_size=48))
    first, seen = [group["lr"] for group in optimizer.param_groups], []
    schedule = LRSchedule(member, optimizer, 4)
    for _ in range(19):
        for _ in range(4):
            optimizer.step()
            schedule.step()
            seen.append(schedule.lr)
            lrs = [group["lr"] for group in optimizer.param_groups]
            assert [lr / max(lrs) for lr in lrs] == pytest.approx([lr / max(first) for lr in first])
        schedule.end_epoch(1.0)
    assert max(seen) == pytest.approx(2e-5) and (kind == "constant") == (seen[-1] == max(seen))
