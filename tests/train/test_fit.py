"""A training repeats to the bit, keeps its best epoch, stops when it should, rolls back, and learns."""

import math
from math import nan

import pytest
from torch import nn

from src.config import Augment
from src.data import synthetic
from src.data.batches import LabelledImages, on_device
from src.train.fit import Diverged, fit, has_diverged
from src.train.predict import probabilities
from src.train.trainer import Trainer
from tests.support.training import BF16, CPU, FLOAT32, Silent, equal, make_job, weights, without_seconds

EVERYTHING = {
    "epochs": 2,
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "lr": 3e-3,
    "dropout": 0.3,
    "schedule": "one_cycle",
    "class_balancing": "sampler",
    "label_smoothing": 0.1,
    "ema": 0.9,
    "augment": Augment(rotation=10, flip=0.5, shift=0.1, scale=0.1, shear=5, brightness=0.2, contrast=0.2, erase=0.2),
}


def test_a_seed_repeats_to_the_bit_and_another_is_another_training(rows, held_out):
    images = rows.images.clone(), held_out.images.clone()
    one, same, other = (fit(make_job(rows, held_out, seed, **EVERYTHING)) for seed in (5, 5, 6))
    assert equal(weights(one.net), weights(same.net)) and one.best_epoch == same.best_epoch
    assert without_seconds(one.history) == without_seconds(same.history) != without_seconds(other.history)
    assert not equal(weights(one.net), weights(other.net))
    assert rows.images.equal(images[0]) and held_out.images.equal(images[1])


def test_a_bf16_training_keeps_its_weights_in_float32(rows, held_out):
    rough, exact = (fit(make_job(rows, held_out, epochs=1, precision=precision)) for precision in (BF16, FLOAT32))
    assert {value.dtype for value in rough.net.parameters()} == {next(exact.net.parameters()).dtype}
    assert not equal(weights(rough.net), weights(exact.net))
    assert rough.history[0]["train_loss"] == pytest.approx(exact.history[0]["train_loss"], rel=0.05)


def test_the_history_has_every_figure_and_the_speed_follows_from_it(rows, held_out):
    result = fit(make_job(rows, held_out))
    figures = {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "valid_f1"}
    assert all(set(row) == figures | {"epoch", "lr", "train_seconds", "seconds"} for row in result.history)
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert all(0 < row["train_seconds"] < row["seconds"] for row in result.history)
    assert result.seconds == pytest.approx(sum(row["train_seconds"] for row in result.history))
    assert result.images_per_second == pytest.approx(3 * 70 / result.seconds)


# --- which epoch is kept, and when the training ends ----------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch):
    """Sets the validation accuracies; returns a list of the weights that were evaluated."""

    def script(*accuracies: float) -> list[dict]:
        states, evaluate, left = [], Trainer.evaluate, iter(accuracies)

        def with_accuracy(trainer, on_batch_end):
            states.append(weights(trainer.eval_model))
            return evaluate(trainer, on_batch_end) | {"valid_accuracy": next(left)}

        monkeypatch.setattr(Trainer, "evaluate", with_accuracy)
        return states

    return script


@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_the_weights_of_the_best_epoch_come_back(rows, held_out, scripted, ema):
    states = scripted(0.3, 0.6, 0.5, 0.4)
    result = fit(make_job(rows, held_out, epochs=4, lr=0.01, ema=ema))
    assert result.best_epoch == 2 and len(result.history) == 4 and equal(weights(result.net), states[1])
    probs = probabilities(result.net, held_out.images, "none", FLOAT32)
    losses = [row["valid_loss"] for row in result.history]
    assert nn.functional.nll_loss(probs.log(), held_out.labels).item() == pytest.approx(losses[1], rel=1e-5)
    assert len({round(value, 4) for value in losses}) == 4  # so no other epoch is meant


@pytest.mark.parametrize(("accuracies", "best"), [((0.3, 0.5, 0.5), 2), ((0.0, 0.0, 0.0), 1), ((0.3, 0.2, 0.4), 3)])
def test_the_first_of_equally_good_epochs_is_the_best(rows, held_out, scripted, accuracies, best):
    scripted(*accuracies)
    assert fit(make_job(rows, held_out)).best_epoch == best


@pytest.mark.parametrize(("patience", "last"), [(1, 2), (2, 5), (3, 8), (0, 8)])
def test_a_training_stops_after_its_patience_without_a_better_epoch(rows, held_out, scripted, patience, last):
    scripted(0.5, 0.5, 0.6, 0.4, 0.5, 0.7, 0.7, 0.7)
    result = fit(make_job(rows, held_out, network="linear", epochs=8, early_stopping_patience=patience))
    assert result.history[-1]["epoch"] == len(result.history) == last


def test_a_training_stops_if_no_error_is_left(rows, held_out, scripted):
    scripted(0.5, 1.0, 1.0)
    assert len(fit(make_job(rows, held_out)).history) == 2


# --- learning, and failing to ---------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch):
    """Makes an epoch end so many times with other figures than its own."""

    def set_figures(number: int, times: int, **figures: float) -> None:
        epoch, left = Trainer.epoch, [figures] * times
        with_figures = lambda trainer, n, *a: epoch(trainer, n, *a) | (left.pop() if n == number and left else {})  # noqa: E731
        monkeypatch.setattr(Trainer, "epoch", with_figures)

    return set_figures


@pytest.mark.parametrize("network", ["tiny", "linear"])
def test_a_training_that_diverges_at_every_learning_rate_says_what_to_set(rows, held_out, network):
    settings = {"optimizer": "sgd", "lr": 100, "momentum": 0.99, "weight_decay": 10, "epochs": 50}
    with pytest.raises(Diverged, match=r"^m: diverges in epoch \d+ .*set its lr to 6\.25 or lower$"):
        fit(make_job(rows, held_out, network=network, **settings), Silent())


@pytest.mark.parametrize(
    "figures", [{"train_loss": math.nan}, {"valid_loss": math.nan}, {"train_loss": math.inf}, {"train_loss": 4.0}]
)
def test_an_epoch_that_diverges_is_repeated_from_the_one_before_at_half_the_learning_rate(
    rows, held_out, failing, figures
):
    untouched = fit(make_job(rows, held_out, network="linear", epochs=2, lr=0.01))
    failing(3, 1, **figures)
    callback = Silent()
    result = fit(make_job(rows, held_out, network="linear", epochs=4, lr=0.01), callback)
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4] and result.rollbacks == 1
    assert [row["lr"] for row in result.history] == [0.01, 0.01, 0.005, 0.005]
    assert len(callback.lines) == 1 and "m diverges in epoch 3" in callback.lines[0]
    assert without_seconds(result.history[:2]) == without_seconds(untouched.history)


def test_a_loss_that_begins_high_and_falls_has_not_diverged():
    """The random last layers of some networks begin at several times the loss of a uniform guess."""

    def row(train_loss, valid_loss, accuracy=0.5):
        return {"train_loss": train_loss, "valid_loss": valid_loss, "valid_accuracy": accuracy}

    high = [row(loss, 2 * loss) for loss in (9.0, 7.0, 5.0, 1.5)]
    assert not any(has_diverged(one, high[:number]) for number, one in enumerate(high))
    assert has_diverged(row(5.1, 5.0), high[:3])  # it rises again
    assert has_diverged(row(4.0, 1.0), high)
    assert has_diverged(row(20.0, 1.0), [])
    assert has_diverged(row(1.0, nan), []) and not has_diverged(row(1.0, nan, nan), [])  # not validated
    assert has_diverged(row(nan, nan, nan), [])


@pytest.mark.parametrize("schedule", ["constant", "plateau", "cosine", "one_cycle"])
def test_every_schedule_continues_at_an_eighth_after_three_rollbacks_and_a_fourth_is_an_error(
    rows, held_out, failing, schedule
):
    job = make_job(rows, held_out, network="linear", epochs=4, lr=0.01, schedule=schedule)
    whole = fit(job)
    failing(2, 3, train_loss=math.nan)
    slowed = fit(job, Silent())
    ratios = [a["lr"] / b["lr"] for a, b in zip(slowed.history, whole.history, strict=True)]
    assert ratios == pytest.approx([1, 1 / 8, 1 / 8, 1 / 8]) and slowed.rollbacks == 3
    failing(2, 4, train_loss=math.nan)
    with pytest.raises(Diverged, match="epoch 2"):
        fit(job, Silent())


def test_synthetic_faces_are_learnt_far_above_chance():
    """Always answering Happy scores 25 %."""
    images, labels = synthetic.make_faces(500, seed=21, copies=0)
    train, valid = (on_device(images[part], labels[part], CPU) for part in (slice(0, 380), slice(380, None)))
    settings = {"network": "compact_cnn", "lr": 4e-3, "schedule": "one_cycle", "optimizer": "adamw"}
    result = fit(make_job(train, valid, **settings))
    best = result.history[result.best_epoch - 1]["valid_accuracy"]
    assert best > 0.45
    probs = probabilities(result.net, valid.images, "none", FLOAT32)
    assert (probs.argmax(1) == valid.labels).float().mean().item() == pytest.approx(best)


def test_simple_cnn_v0_overfits_sixty_images_and_then_stops(rows):
    few = LabelledImages(rows.images[:60], rows.labels[:60])
    result = fit(make_job(few, network="simple_cnn_v0", epochs=40, batch_size=20))
    assert result.history[-1]["valid_accuracy"] == 1 and result.best_epoch == len(result.history) < 40
