"""A training repeats to the bit, keeps its best epoch, stops when it should, and learns."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss
from torch import nn

from src import models
from src.config import Augment, Member
from src.data import synthetic
from src.data.batches import LabelledImages, on_device
from src.train.fit import Diverged, fit
from src.train.precision import Precision
from src.train.predict import probabilities
from src.train.trainer import Trainer

CPU = torch.device("cpu")
FLOAT32 = Precision("float32", "", CPU)
EVERYTHING = {
    "network": "tiny",
    "epochs": 2,
    "batch_size": 16,
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


def tiny(dropout: float | None = None) -> nn.Sequential:
    layers = nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout or 0.0)
    return nn.Sequential(*layers, nn.Linear(4 * 15**2, 7))


def linear(dropout: float | None = None) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(36, 7))


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    for function in (tiny, linear):
        monkeypatch.setitem(models.NETWORKS, function.__name__, function)


def member(**settings) -> Member:
    return Member(**({"name": "wild", "network": "tiny", "epochs": 3, "batch_size": 16} | settings))


@pytest.fixture(scope="module")
def rows() -> LabelledImages:
    return on_device(*synthetic.make_faces(70, seed=11), CPU)


@pytest.fixture(scope="module")
def held_out() -> LabelledImages:
    return on_device(*synthetic.make_faces(40, seed=12), CPU)


def weights(net: nn.Module) -> dict:
    return copy.deepcopy(net.state_dict())


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def figures(history: list[dict]) -> list[dict]:
    """The history without its clock."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in history]


# --- repeatability --------------------------------------------------------------------------------------------------


def test_a_seed_repeats_to_the_bit_with_everything_on(rows, held_out):
    one = fit(member(**EVERYTHING), rows, held_out, FLOAT32, seed=5)
    torch.rand(3)  # what is drawn elsewhere in between does not count
    other = fit(member(**EVERYTHING), rows, held_out, FLOAT32, seed=5)
    assert equal(weights(one.net), weights(other.net))
    assert figures(one.history) == figures(other.history) and one.best_epoch == other.best_epoch


def test_another_seed_is_another_training(rows, held_out):
    one, other = (fit(member(**EVERYTHING), rows, held_out, FLOAT32, seed) for seed in (5, 6))
    assert not equal(weights(one.net), weights(other.net))
    assert figures(one.history) != figures(other.history)


def test_the_seed_moves_first_weights_and_order_of_the_rows(rows):
    trainers = [Trainer(member(network="linear"), rows, rows, FLOAT32, seed) for seed in (5, 6)]
    assert not equal(*(weights(trainer.net) for trainer in trainers))
    seen = [watched(trainer) for trainer in trainers]
    for trainer in trainers:
        train_once(trainer)
    one, other = (torch.cat([y for _, _, y in steps]) for steps in seen)
    assert not torch.equal(one, other)


def test_the_training_data_is_not_changed(rows, held_out):
    before = rows.images.clone(), held_out.images.clone()
    fit(member(**EVERYTHING), rows, held_out, FLOAT32, seed=5)
    assert torch.equal(rows.images, before[0]) and torch.equal(held_out.images, before[1])


# --- one step and one epoch -----------------------------------------------------------------------------------------


def by_hand(logits: torch.Tensor, y: torch.Tensor, class_weights: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Weighted cross-entropy against smoothed targets, written out."""
    target = torch.full_like(logits, smoothing / 7)
    target[torch.arange(len(y)), y] += 1 - smoothing
    losses = -(target * class_weights * (logits - logits.logsumexp(1, keepdim=True))).sum(1)
    return losses.sum() / class_weights[y].sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("balance", ["none", "weights"])
def test_a_step_descends_the_weighted_smoothed_cross_entropy(rows, balance, smoothing):
    settings = member(
        network="linear", optimizer="sgd", momentum=0, lr=0.1, class_balancing=balance, label_smoothing=smoothing
    )
    trainer = Trainer(settings, rows, rows, FLOAT32, seed=1)
    net, x, y = copy.deepcopy(trainer.net), rows.images[:20].float() / 255, rows.labels[:20]
    counts = torch.bincount(rows.labels, minlength=7)
    class_weights = 70 / (7 * counts) if balance == "weights" else torch.ones(7)
    expected = by_hand(net(x), y, class_weights, smoothing)
    expected.backward()

    loss, hits = trainer.step(x, y)
    torch.testing.assert_close(loss, expected.detach())
    assert hits == (net(x).argmax(1) == y).sum()
    assert not loss.requires_grad
    for new, old in zip(trainer.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * old.grad)


def train_once(trainer: Trainer) -> tuple[float, float]:
    """The training of one epoch, without its evaluation."""
    trainer.half = trainer.new_half()
    return trainer.train_epoch()


def watched(trainer: Trainer) -> list[tuple]:
    """Fills up with loss, hits and labels of each step that the trainer takes."""
    seen, step = [], trainer.step

    def watch(x, y):
        assert x.dtype == torch.float32 and x.shape[1:] == (1, 48, 48) and trainer.net.training
        seen.append((*step(x, y), y))
        return seen[-1][:2]

    trainer.step = watch
    return seen


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_an_epoch_sees_each_row_once_without_a_sampler(rows, balance):
    trainer = Trainer(member(class_balancing=balance), rows, rows, FLOAT32, seed=1)
    seen = watched(trainer)
    train_once(trainer)
    labels = torch.cat([y for _, _, y in seen])
    assert len(seen) == 5 and not torch.equal(labels, rows.labels)
    assert torch.equal(labels.sort().values, rows.labels.sort().values)


@pytest.mark.parametrize("balance", ["sampler", "weights+sampler"])
def test_the_sampler_shows_each_class_equally_often(balance):
    labels = torch.tensor([0] * 270 + [1] * 20 + [2] * 10)
    rows = LabelledImages(torch.zeros(300, 1, 48, 48, dtype=torch.uint8), labels)
    trainer = Trainer(member(network="linear", class_balancing=balance, batch_size=300), rows, rows, FLOAT32, seed=1)
    seen = watched(trainer)
    for _ in range(10):
        train_once(trainer)
    shares = torch.bincount(torch.cat([y for _, _, y in seen])) / 3000
    assert (shares - 1 / 3).abs().max() < 0.05  # three deviations are 0.026


@pytest.mark.parametrize(
    ("balance", "loss", "order"),
    [
        ("none", False, False),
        ("weights", True, False),
        ("sampler", False, True),
        ("weights+sampler", True, True),
    ],
)
def test_only_the_named_balance_is_at_work(rows, balance, loss, order):
    trainer = Trainer(member(class_balancing=balance), rows, rows, FLOAT32, seed=1)
    assert (trainer.loss_weights is not None, trainer.row_weights is not None) == (loss, order)


def test_loss_and_accuracy_of_an_epoch_are_means_over_its_images(rows):
    """70 rows in batches of 32: the last batch of 6 counts less."""
    trainer = Trainer(member(batch_size=32, lr=0.01), rows, rows, FLOAT32, seed=1)
    seen = watched(trainer)
    loss, accuracy = train_once(trainer)
    assert [len(y) for _, _, y in seen] == [32, 32, 6]
    assert loss == pytest.approx(sum(float(loss) * len(y) for loss, _, y in seen) / 70)
    assert accuracy == sum(int(hits) for _, hits, _ in seen) / 70


def test_the_network_trains_again_after_each_evaluation(rows):
    trainer = Trainer(member(), rows, rows, FLOAT32, seed=1)
    watched(trainer)
    for number in (1, 2):
        trainer.epoch(number)
    assert trainer.net[1].num_batches_tracked == 10


def test_evaluation_agrees_with_scikit_learn(rows, held_out):
    trainer = Trainer(member(), rows, held_out, FLOAT32, seed=1)
    train_once(trainer)
    found = trainer.evaluate()
    probs = probabilities(trainer.net, held_out.images, "none", FLOAT32).double().numpy()
    probs, labels = probs / probs.sum(1, keepdims=True), held_out.labels.numpy()
    assert found["valid_loss"] == pytest.approx(log_loss(labels, probs, labels=range(7)), rel=1e-4)
    assert found["valid_accuracy"] == pytest.approx(accuracy_score(labels, probs.argmax(1)))
    assert found["valid_f1"] == pytest.approx(f1_score(labels, probs.argmax(1), average="macro", zero_division=0))


@pytest.mark.parametrize("kind", ["constant", "plateau", "cosine", "one_cycle"])
def test_every_schedule_lasts_for_the_whole_training(rows, held_out, kind):
    """65 rows in batches of 16: the one row that is left over makes no step."""
    some = LabelledImages(rows.images[:65], rows.labels[:65])
    settings = member(network="linear", schedule=kind, epochs=4, lr=0.01, warmup_fraction=0.25)
    fitted = fit(settings, some, held_out, FLOAT32, seed=1)
    rates = [row["lr"] for row in fitted.history]
    assert len(rates) == 4 and max(rates) == rates[1] == pytest.approx(0.01, rel=0.05) and rates[0] < 0.003
    assert (rates[3] < 0.003) == (kind in ("cosine", "one_cycle"))


def test_a_bf16_training_keeps_its_weights_in_float32(rows, held_out):
    fitted = fit(member(epochs=1), rows, held_out, Precision("bf16", "", CPU), seed=1)
    assert all(p.dtype == torch.float32 for p in fitted.net.parameters())
    exact = fit(member(epochs=1), rows, held_out, FLOAT32, seed=1)
    assert not equal(weights(fitted.net), weights(exact.net))
    assert fitted.history[0]["train_loss"] == pytest.approx(exact.history[0]["train_loss"], rel=0.05)


# --- which epoch is kept, and when it ends --------------------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch):
    """Validation accuracies by script; the weights that were evaluated, and the true validation loss, stay visible."""

    def script(accuracies: list[float]) -> list[dict]:
        evaluated, evaluate, left = [], Trainer.evaluate, iter(accuracies)

        def scripted(trainer, between):
            evaluated.append(weights(trainer.evaluated))
            return evaluate(trainer, between) | {"valid_accuracy": next(left)}

        monkeypatch.setattr(Trainer, "evaluate", scripted)
        return evaluated

    return script


@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_the_best_epochs_weights_come_back(rows, held_out, scripted, ema):
    evaluated = scripted([0.3, 0.6, 0.5, 0.4])
    fitted = fit(member(epochs=4, lr=0.01, ema=ema), rows, held_out, FLOAT32, seed=1)
    assert fitted.best_epoch == 2 and len(fitted.history) == 4
    assert equal(weights(fitted.net), evaluated[1])
    probs = probabilities(fitted.net, held_out.images, "none", FLOAT32)
    loss = nn.functional.nll_loss(probs.log(), held_out.labels).item()
    losses = [row["valid_loss"] for row in fitted.history]
    assert loss == pytest.approx(losses[1], rel=1e-5)
    assert len({round(value, 4) for value in losses}) == 4  # so no other epoch is meant


def test_the_first_of_equally_good_epochs_is_kept(rows, held_out, scripted):
    scripted([0.3, 0.5, 0.5, 0.5])
    assert fit(member(epochs=4), rows, held_out, FLOAT32, seed=1).best_epoch == 2


def test_an_accuracy_of_zero_everywhere_still_has_a_best_epoch(rows, held_out, scripted):
    evaluated = scripted([0.0, 0.0])
    fitted = fit(member(epochs=2), rows, held_out, FLOAT32, seed=1)
    assert fitted.best_epoch == 1 and equal(weights(fitted.net), evaluated[0])


@pytest.mark.parametrize(("patience", "last"), [(1, 2), (2, 5), (3, 8), (0, 8)])
def test_a_training_stops_after_its_patience_without_a_better_epoch(rows, held_out, scripted, patience, last):
    scripted([0.5, 0.5, 0.6, 0.4, 0.5, 0.7, 0.7, 0.7])
    fitted = fit(member(network="linear", epochs=8, early_stopping_patience=patience), rows, held_out, FLOAT32, seed=1)
    assert fitted.history[-1]["epoch"] == len(fitted.history) == last


def test_a_training_stops_when_no_error_is_left(rows, held_out, scripted):
    scripted([0.5, 1.0, 1.0])
    fitted = fit(member(epochs=3), rows, held_out, FLOAT32, seed=1)
    assert len(fitted.history) == fitted.best_epoch == 2


def test_each_epoch_is_reported_once_with_whether_it_is_the_best_so_far(rows, held_out, scripted):
    scripted([0.5, 0.4, 0.6])
    told = []
    fitted = fit(member(), rows, held_out, FLOAT32, seed=1, report=lambda row, best: told.append((row, best)))
    assert [row for row, _ in told] == fitted.history
    assert [best for _, best in told] == [True, False, True]


def test_history_has_every_figure_and_the_speed_follows_from_it(rows, held_out):
    fitted = fit(member(), rows, held_out, FLOAT32, seed=1)
    losses = {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "valid_f1"}
    assert all(set(row) == losses | {"epoch", "lr", "train_seconds", "seconds"} for row in fitted.history)
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3]
    assert all(0 < row["train_seconds"] < row["seconds"] for row in fitted.history)
    assert fitted.seconds == pytest.approx(sum(row["train_seconds"] for row in fitted.history))
    assert fitted.images_per_second == pytest.approx(3 * 70 / fitted.seconds)


# --- the moving average ---------------------------------------------------------------------------------------------


def test_with_a_moving_average_it_is_what_is_evaluated(rows, held_out):
    trainer = Trainer(member(ema=0.9, lr=0.01), rows, held_out, FLOAT32, seed=1)
    train_once(trainer)
    found = trainer.evaluate()["valid_loss"]
    average, net = (
        nn.functional.nll_loss(probabilities(n, held_out.images, "none", FLOAT32).log(), held_out.labels).item()
        for n in (trainer.average.module, trainer.net)
    )
    assert found == pytest.approx(average, rel=1e-5) and abs(average - net) > 1e-3


def test_without_a_moving_average_the_trained_network_is_evaluated(rows, held_out):
    trainer = Trainer(member(), rows, held_out, FLOAT32, seed=1)
    assert trainer.average is None and trainer.evaluated is trainer.net


def test_the_moving_average_does_not_change_the_training(rows, held_out):
    without, with_average = (Trainer(member(ema=ema), rows, held_out, FLOAT32, seed=1) for ema in (0.0, 0.9))
    assert train_once(without) == train_once(with_average)
    assert equal(weights(without.net), weights(with_average.net))


# --- learning, and failing to ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["tiny", "linear"])
def test_a_training_that_diverges_at_every_rate_says_what_to_set(rows, held_out, network):
    settings = member(network=network, optimizer="sgd", lr=100, momentum=0.99, weight_decay=10, epochs=50)
    with pytest.raises(Diverged, match=r"^wild: diverges in epoch \d+ .*--set wild\.lr=6\.25\)$"):
        fit(settings, rows, held_out, FLOAT32, seed=1)


def ill(monkeypatch, epochs: dict[int, int], **figures: float) -> None:
    """Makes the epochs of these numbers end so often with these figures instead of their own."""
    epoch, left = Trainer.epoch, dict(epochs)

    def fallen(trainer, number, between):
        row = epoch(trainer, number, between)
        if left.get(number, 0) > 0:
            left[number] -= 1
            return row | figures
        return row

    monkeypatch.setattr(Trainer, "epoch", fallen)


@pytest.mark.parametrize(
    "figures",
    [{"train_loss": math.nan}, {"valid_loss": math.nan}, {"train_loss": math.inf}, {"train_loss": 4.0}],
)
def test_an_epoch_that_runs_away_is_done_again_from_the_one_before_at_half_the_rate(
    rows, held_out, monkeypatch, figures
):
    ill(monkeypatch, {3: 1}, **figures)
    told, settings = [], member(network="linear", epochs=4, lr=0.01)
    fitted = fit(settings, rows, held_out, FLOAT32, seed=1, say=told.append)
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3, 4] and fitted.strikes == 1
    assert [row["lr"] for row in fitted.history] == [0.01, 0.01, 0.005, 0.005]
    assert len(told) == 1 and "wild" in told[0] and "epoch 3" in told[0]
    monkeypatch.undo()
    small_networks_again(monkeypatch)
    untouched = fit(member(network="linear", epochs=2, lr=0.01), rows, held_out, FLOAT32, seed=1)
    assert figures_equal(fitted.history[:2], untouched.history)


def small_networks_again(monkeypatch) -> None:
    for function in (tiny, linear):
        monkeypatch.setitem(models.NETWORKS, function.__name__, function)


def figures_equal(one: list[dict], other: list[dict]) -> bool:
    return figures(one) == figures(other)


@pytest.mark.parametrize("kind", ["constant", "plateau", "cosine", "one_cycle"])
def test_three_times_at_most_and_every_schedule_goes_on_at_an_eighth(rows, held_out, monkeypatch, kind):
    settings = member(network="linear", epochs=4, lr=0.01, schedule=kind)
    whole = fit(settings, rows, held_out, FLOAT32, seed=1)
    ill(monkeypatch, {2: 3}, train_loss=math.nan)
    slowed = fit(settings, rows, held_out, FLOAT32, seed=1, say=lambda line: None)
    ratios = [a["lr"] / b["lr"] for a, b in zip(slowed.history, whole.history, strict=True)]
    assert ratios == pytest.approx([1, 1 / 8, 1 / 8, 1 / 8]) and slowed.strikes == 3
    monkeypatch.undo()
    small_networks_again(monkeypatch)
    ill(monkeypatch, {2: 4}, train_loss=math.nan)
    with pytest.raises(Diverged, match="epoch 2"):
        fit(settings, rows, held_out, FLOAT32, seed=1, say=lambda line: None)


def test_the_made_up_faces_are_learnt_far_above_chance():
    """Always answering Happy scores 25 %."""
    images, labels = synthetic.make_faces(500, seed=21, copies=0)
    train, valid = (on_device(images[part], labels[part], CPU) for part in (slice(0, 380), slice(380, None)))
    settings = member(network="compact_cnn", epochs=3, batch_size=16, lr=4e-3, schedule="one_cycle", optimizer="adamw")
    fitted = fit(settings, train, valid, FLOAT32, seed=1)
    best = fitted.history[fitted.best_epoch - 1]
    assert best["valid_accuracy"] > 0.45
    probs = probabilities(fitted.net, valid.images, "none", FLOAT32).numpy()
    assert np.mean(probs.argmax(1) == valid.labels.numpy()) == pytest.approx(best["valid_accuracy"])


def test_simple_cnn_v0_overfits_sixty_images_and_then_stops(rows):
    few = LabelledImages(rows.images[:60], rows.labels[:60])
    fitted = fit(member(network="simple_cnn_v0", epochs=40, batch_size=20), few, few, FLOAT32, seed=1)
    assert fitted.history[-1]["valid_accuracy"] == 1
    assert fitted.best_epoch == len(fitted.history) < 40
