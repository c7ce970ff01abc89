"""Steps, epochs and evaluation of a trainer against formulas and scikit-learn, also with little memory."""

import copy
import gc
import weakref

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss
from torch import nn

from src import models
from src.data.batches import LabelledImages
from src.errors import UserError
from src.train.fit import fit
from src.train.predict import probabilities
from src.train.trainer import Trainer, training_image_size
from tests.support.training import FLOAT32, equal, make_job, make_member, weights

BALANCING = ["none", "weights", "sampler", "weights+sampler"]


def epoch_labels(trainer: Trainer) -> torch.Tensor:
    """The labels of one epoch, in its order."""
    return torch.cat([y for _, y in trainer.batches(trainer.new_epoch())])


def reference_loss(logits: torch.Tensor, y: torch.Tensor, class_weights: torch.Tensor, smoothing: float):
    """Weighted cross-entropy with smoothed targets, written out."""
    target = torch.full_like(logits, smoothing / 7)
    target[torch.arange(len(y)), y] += 1 - smoothing
    losses = -(target * class_weights * (logits - logits.logsumexp(1, keepdim=True))).sum(1)
    return losses.sum() / class_weights[y].sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("balancing", BALANCING)
def test_a_step_descends_the_weighted_smoothed_cross_entropy(rows, balancing, smoothing):
    settings = {"optimizer": "sgd", "momentum": 0, "lr": 0.1, "label_smoothing": smoothing}
    trainer = Trainer(make_job(rows, network="linear", class_balancing=balancing, **settings))
    net, x, y = copy.deepcopy(trainer.net), rows.images[:20].float() / 255, rows.labels[:20]
    counts = torch.bincount(rows.labels, minlength=7)
    expected = reference_loss(net(x), y, 70 / (7 * counts) if "weights" in balancing else torch.ones(7), smoothing)
    expected.backward()
    loss, hits = trainer.step(x, y)
    torch.testing.assert_close(loss, expected.detach())
    assert hits == (net(x).argmax(1) == y).sum() and not loss.requires_grad
    for new, old in zip(trainer.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * old.grad)


def test_without_a_sampler_an_epoch_has_each_row_once_in_the_order_of_its_seed(rows):
    one, same, other = (epoch_labels(Trainer(make_job(rows, seed=seed))) for seed in (5, 5, 6))
    assert torch.equal(one.sort().values, rows.labels.sort().values) and not torch.equal(one, rows.labels)
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("balancing", ["sampler", "weights+sampler"])
def test_the_sampler_draws_each_class_equally_often(balancing):
    labels = torch.tensor([0] * 270 + [1] * 20 + [2] * 10)
    rows = LabelledImages(torch.zeros(300, 1, 48, 48, dtype=torch.uint8), labels)
    trainer = Trainer(make_job(rows, network="linear", class_balancing=balancing, batch_size=300))
    shares = torch.bincount(torch.cat([epoch_labels(trainer) for _ in range(10)])) / 3000
    assert (shares - 1 / 3).abs().max() < 0.05  # three deviations are 0.026


def test_loss_and_accuracy_of_an_epoch_are_means_over_its_images(rows):
    """70 rows in batches of 32: the last batch of 6 counts less."""
    trainer, twin = (Trainer(make_job(rows, batch_size=32, lr=0.01)) for _ in range(2))
    row = trainer.epoch(1)
    steps = [(*twin.step(x, y), len(y)) for x, y in twin.batches(twin.new_epoch())]
    assert [n for *_, n in steps] == [32, 32, 6]
    assert row["train_loss"] == pytest.approx(sum(loss.item() * n for loss, _, n in steps) / 70)
    assert row["train_accuracy"] == sum(int(hits) for _, hits, _ in steps) / 70


@pytest.mark.parametrize("seed", [0, 3])
def test_the_order_and_the_initial_weights_have_different_random_numbers(rows, seed):
    trainer = Trainer(make_job(rows, seed=seed))
    ours = torch.rand(1000, generator=trainer.generator)
    of_seeds = [torch.rand(1000, generator=torch.Generator().manual_seed(other)) for other in range(10)]
    assert not any(torch.equal(ours, others) for others in of_seeds)
    assert torch.equal(ours, torch.rand(1000, generator=Trainer(make_job(rows, seed=seed)).generator))


def test_the_network_trains_again_after_each_evaluation_and_each_batch_is_reported(rows):
    trainer, calls = Trainer(make_job(rows)), []
    for number in (1, 2):
        trainer.epoch(number, lambda: calls.append(trainer.net.training))
    assert trainer.net[1].num_batches_tracked == 10
    assert calls == ([True] * 5 + [False]) * 2


def test_evaluation_agrees_with_scikit_learn(rows, held_out):
    trainer = Trainer(make_job(rows, held_out))
    row = trainer.epoch(1)
    probs = probabilities(trainer.net, held_out.images, "none", FLOAT32).double().numpy()
    probs, labels = probs / probs.sum(1, keepdims=True), held_out.labels.numpy()
    assert row["valid_loss"] == pytest.approx(log_loss(labels, probs, labels=range(7)), rel=1e-4)
    assert row["valid_accuracy"] == pytest.approx(accuracy_score(labels, probs.argmax(1)))
    assert row["valid_f1"] == pytest.approx(f1_score(labels, probs.argmax(1), average="macro", zero_division=0))


def test_the_moving_average_is_evaluated_and_does_not_change_the_training(rows, held_out):
    without, averaged = (Trainer(make_job(rows, held_out, ema=ema, lr=0.01)) for ema in (0.0, 0.9))
    one, other = without.epoch(1), averaged.epoch(1)
    assert one["train_loss"] == other["train_loss"] and equal(weights(without.net), weights(averaged.net))
    assert without.eval_model is without.net and averaged.eval_model is averaged.ema.module
    probs = probabilities(averaged.ema.module, held_out.images, "none", FLOAT32)
    loss = nn.functional.nll_loss(probs.log(), held_out.labels).item()
    assert other["valid_loss"] == pytest.approx(loss, rel=1e-5) and abs(one["valid_loss"] - loss) > 1e-3


@pytest.mark.parametrize(
    ("smallest", "fraction", "sizes"), [(24, 0.8, [24, 24, 36, 36, None]), (36, 0.4, [36, 36, None, None, None])]
)
def test_training_images_grow_to_the_stored_size(rows, smallest, fraction, sizes):
    member = make_member(initial_image_size=smallest, resize_fraction=fraction)
    assert [training_image_size(member, epoch, 5) for epoch in range(1, 6)] == sizes
    assert {training_image_size(make_member(), epoch, 5) for epoch in range(1, 6)} == {None}


def test_the_network_gets_images_of_that_size(rows):
    settings = {"network": "compact_cnn", "epochs": 2, "initial_image_size": 24, "resize_fraction": 0.5}
    trainer, seen = Trainer(make_job(rows, **settings)), []
    trainer.net.register_forward_pre_hook(lambda net, inputs: seen.append((net.training, inputs[0].shape[-1])))
    for number in (1, 2):
        trainer.epoch(number)
    assert seen == [(True, 24)] * 5 + [(False, 48)] + [(True, 48)] * 5 + [(False, 48)]


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_a_trainer_that_is_no_longer_used_frees_its_memory_at_once(rows, schedule):
    """On a GPU the next member needs it before Python looks for cycles of references."""
    trainer = Trainer(make_job(rows, schedule=schedule, ema=0.9))
    trainer.epoch(1)
    held = [weakref.ref(part) for part in (trainer, trainer.net, trainer.ema.module, trainer.optimizer)]
    gc.disable()
    try:
        del trainer
        assert [part() for part in held] == [None] * 4
    finally:
        gc.enable()


# --- batches that do not fit into memory ----------------------------------------------------------------------------


class Greedy(nn.Sequential):
    """A linear network that runs out of memory with more than `most` images."""

    most, error, seen = 64, torch.OutOfMemoryError("CUDA out of memory"), []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.error
        return super().forward(x)


@pytest.fixture
def greedy(monkeypatch):
    """Registers the network; returns a function that sets its memory, and gives the numbers of images that it gets."""
    create = lambda dropout=None: Greedy(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(36, 7))  # noqa: E731
    monkeypatch.setitem(models.NETWORKS, "greedy", create)

    def limit(most: int, error: Exception = Greedy.error) -> list[int]:
        for key, value in {"most": most, "error": error, "seen": []}.items():
            monkeypatch.setattr(Greedy, key, value)
        return Greedy.seen

    return limit


SGD = {"network": "greedy", "batch_size": 32, "epochs": 2, "optimizer": "sgd", "lr": 0.1}
SMOOTHED = {"label_smoothing": 0.2, "class_balancing": "weights"}
METHODS = SMOOTHED | {"mixup": 0.4, "cutmix": 1.0, "sam_fraction": 0.5}
ERRORS = [Greedy.error, RuntimeError("DefaultCPUAllocator: can't allocate memory: 4096 GB")]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
@pytest.mark.parametrize("settings", [{}, SMOOTHED, METHODS], ids=str)
@pytest.mark.parametrize(("most", "parts"), [(64, 1), (31, 2), (9, 4), (5, 8)])
def test_accumulated_gradients_are_those_of_the_whole_batch(rows, greedy, error, settings, most, parts):
    greedy(64)
    whole = fit(make_job(rows, **SGD, **settings))
    greedy(most, error)
    split = fit(make_job(rows, **SGD, **settings))
    assert split.accumulation_steps == parts and whole.accumulation_steps == 1
    for one, other in zip(split.net.parameters(), whole.net.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    for row, expected in zip(split.history, whole.history, strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)
        assert row["train_accuracy"] == expected["train_accuracy"]


def test_a_split_stays_and_a_last_smaller_batch_is_split_less(rows, greedy):
    """70 rows in batches of 32 leave 6; eight parts would leave single images."""
    seen = greedy(5)
    trainer = Trainer(make_job(rows, **SGD))
    for x, y in trainer.batches(trainer.new_epoch()):
        trainer.step(x, y)
    assert trainer.accumulation_steps == 8 and seen == [32, 16, 8] + [4] * 16 + [2, 2, 2]


def test_a_batch_that_does_not_fit_is_freed_before_a_part_of_it_is_tried(rows, monkeypatch):
    trainer, held, alive = Trainer(make_job(rows, network="linear", batch_size=32)), [], []
    double = trainer.double_accumulation_steps

    def refuse(net, inputs):
        held.append(weakref.ref(inputs[0]))
        if len(inputs[0]) > 9:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def look_and_double(batch_size):
        alive.append(held[-1]() is not None)
        double(batch_size)

    trainer.net.register_forward_pre_hook(refuse)
    monkeypatch.setattr(trainer, "double_accumulation_steps", look_and_double)
    trainer.step(rows.images[:32].float(), rows.labels[:32])
    assert alive == [False, False]


def test_what_does_not_fit_with_two_images_or_with_the_moments_is_the_users_error(rows, greedy, monkeypatch):
    greedy(1)
    with pytest.raises(UserError, match=r"^m: greedy does not fit into memory even with two images at a time"):
        fit(make_job(rows, **SGD))
    greedy(64)
    trainer = Trainer(make_job(rows, **SGD))

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer.optimizer, "step", full)
    with pytest.raises(UserError, match="moments of sgd"):
        trainer.step(rows.images[:8].float(), rows.labels[:8])


def test_another_error_is_not_taken_for_one_of_memory(rows, greedy):
    greedy(1, RuntimeError("device-side assert triggered"))
    with pytest.raises(RuntimeError, match="assert"):
        fit(make_job(rows, **SGD))


def test_a_prediction_is_split_too_and_stays_the_same(rows, greedy):
    net, calls = models.create("greedy"), []
    greedy(64)
    whole = probabilities(net, rows.images, "flip", FLOAT32, 32, lambda: calls.append(1))
    assert len(calls) == 3
    greedy(10)
    torch.testing.assert_close(probabilities(net, rows.images, "flip", FLOAT32), whole)
    greedy(0)
    with pytest.raises(torch.OutOfMemoryError):
        probabilities(net, rows.images, "flip", FLOAT32)
