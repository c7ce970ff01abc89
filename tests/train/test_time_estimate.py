"""The estimate of a member, by a clock that advances by one second each time it is read."""

from itertools import count

import pytest
from torch import nn

from src import models
from src.data.batches import LabelledImages
from src.train.budget import TimeEstimate
from src.train.estimate import estimate_member, estimate_table, format_duration
from tests.support.training import make_job, make_member


class SlowNet(nn.Sequential):
    """A network whose forward pass moves a clock by the side of its images."""

    clock = [0.0]  # noqa: RUF012

    def forward(self, x):
        self.clock[0] += x.shape[-1]
        return super().forward(x)


@pytest.fixture(autouse=True)
def slow_network(monkeypatch):
    make = lambda dropout=None: SlowNet(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(36, 7))  # noqa: E731
    monkeypatch.setitem(models.NETWORKS, "slow", make)


def measured(rows: LabelledImages, valid: LabelledImages, test_rows: int, **settings) -> TimeEstimate:
    ticks = count()
    return estimate_member(make_job(rows, valid, **settings), test_rows, clock=lambda: float(next(ticks)))


def test_an_epoch_is_its_steps_and_its_validation(rows, held_out):
    """A step takes one second, and the prediction of 40 faces too."""
    estimate = measured(rows, held_out, 80)
    assert estimate.epoch == pytest.approx(5 * 1.0 + 40 / 40)
    assert estimate.predict == pytest.approx((40 + 80) / 40)


def test_test_time_augmentation_multiplies_the_prediction_only(rows, held_out):
    one, two = measured(rows, held_out, 80), measured(rows, held_out, 80, tta="flip")
    assert two.predict == 2 * one.predict and two.epoch == one.epoch


def test_one_batch_is_enough_and_the_rows_do_not_change(rows):
    few = LabelledImages(rows.images[:10].clone(), rows.labels[:10])
    assert measured(few, few, 10).epoch > 0
    assert few.images.equal(rows.images[:10])


def test_an_epoch_is_the_mean_one_if_the_last_ones_take_two_passes(rows, held_out):
    assert measured(rows, held_out, 80, epochs=10, sam_fraction=0.3).epoch == pytest.approx(5 * 1.3 + 40 / 40)


def test_an_epoch_of_growing_images_is_the_mean_of_all_sizes(rows, held_out):
    """A clock that only runs in the network: as many seconds as an image has pixels a side."""
    now = [0.0]
    job = make_job(rows, held_out, network="slow", epochs=10, initial_image_size=24, resize_fraction=0.8)
    SlowNet.clock = now
    estimate = estimate_member(job, 80, clock=lambda: now[0])
    assert estimate.epoch == pytest.approx(5 * (4 * 24 + 4 * 36 + 2 * 48) / 10 + 48)


def test_the_table_says_what_is_whole_shortened_and_left_out():
    members = [make_member(name=name, epochs=20) for name in ("whole", "less", "none")]
    lines = estimate_table(members, [TimeEstimate(60, 30)] * 3, [20, 10, 0], 4000.0, "a GPU")
    assert lines[0].endswith("on a GPU:") and len(lines) == 5
    assert lines[1] == "  whole   20 epochs of 60 s, 30 s to predict: 20 min"
    once = estimate_table(members[:1], [TimeEstimate(60, 30)], [1], 4000.0, "cpu")
    assert "   1 epoch of 60 s, 30 s to predict" in once[1]
    assert lines[2].endswith("10 min (of 20)") and lines[3].endswith("left out")
    assert lines[4] == "  at most 31 min in all; 67 min are left of the budget"
    assert estimate_table(members, [TimeEstimate(60, 30)] * 3, [20] * 3, float("inf"), "cpu")[4].endswith("no budget")


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (7200, "2.0 h")])
def test_durations_are_for_people(seconds, words):
    assert format_duration(seconds) == words
