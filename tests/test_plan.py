"""What a member will cost, by a clock that goes on by one second each time it is asked."""

from itertools import count

import pytest
import torch

from src.config import Member
from src.data import synthetic
from src.data.batches import LabelledImages, on_device
from src.train import plan
from src.train.deadline import Cost
from src.train.precision import Precision

CPU = torch.device("cpu")
FLOAT32 = Precision("float32", "", CPU)


@pytest.fixture(scope="module")
def rows() -> LabelledImages:
    return on_device(*synthetic.make_faces(70, seed=11), CPU)


def measured(rows: LabelledImages, valid: LabelledImages, tests: int, **settings) -> Cost:
    ticks = count()
    member = Member("m", network="compact_cnn", batch_size=16, **settings)
    return plan.measure(member, rows, valid, tests, FLOAT32, clock=lambda: float(next(ticks)))


def test_an_epoch_is_its_steps_and_its_validation(rows):
    """Three steps are taken, of which the first does not count: one second each. 40 faces are predicted in one."""
    valid = LabelledImages(rows.images[:40], rows.labels[:40])
    cost = measured(rows, valid, tests=80)
    assert cost.epoch == pytest.approx(5 * 1.0 + 40 / 40)
    assert cost.predict == pytest.approx((40 + 80) / 40)


def test_views_multiply_the_prediction_alone(rows):
    valid = LabelledImages(rows.images[:40], rows.labels[:40])
    one, two = measured(rows, valid, 80), measured(rows, valid, 80, tta="flip")
    assert two.predict == 2 * one.predict and two.epoch == one.epoch


def test_a_training_of_one_batch_can_be_planned(rows):
    few = LabelledImages(rows.images[:10], rows.labels[:10])
    assert measured(few, few, 10).epoch > 0


def test_measuring_leaves_the_rows_as_they_are(rows):
    before = rows.images.clone()
    measured(rows, rows, 10)
    assert torch.equal(rows.images, before)


def test_the_table_says_what_is_whole_shortened_and_left_out():
    members = [Member(name, network="compact_cnn", epochs=20) for name in ("whole", "less", "none")]
    lines = plan.table(members, [Cost(60, 30)] * 3, [20, 10, 0], 4000.0, "a GPU")
    assert lines[0].endswith("on a GPU:") and len(lines) == 5
    assert lines[1] == "  whole   20 epochs of 60 s, 30 s to predict: 20 min"
    assert lines[2].endswith("10 min (shortened, of 20)") and lines[3].endswith("left out")
    assert lines[4] == "  at most 31 min in all; 67 min are left of the budget"
    assert plan.table(members, [Cost(60, 30)] * 3, [20] * 3, float("inf"), "cpu")[4].endswith("no budget")


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (7200, "2.0 h")])
def test_durations_are_for_people(seconds, words):
    assert plan.duration(seconds) == words


def test_an_epoch_of_growing_images_is_the_mean_one(rows, monkeypatch):
    seconds = {24: 1.0, 36: 2.0, None: 5.0}
    monkeypatch.setattr(plan, "step_seconds", lambda trainer, side, clock: seconds[side])
    valid = LabelledImages(rows.images[:40], rows.labels[:40])
    cost = measured(rows, valid, 80, epochs=10, initial_image_size=24, resize_fraction=0.8)
    assert cost.epoch == pytest.approx(5 * (4 * 1.0 + 4 * 2.0 + 2 * 5.0) / 10 + 1)
