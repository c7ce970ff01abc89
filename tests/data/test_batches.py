"""Batches: each row once an epoch with its own label, or classes drawn evenly; the weights are scikit-learn's."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from src.config import Augment
from src.data.augment import augment, preprocess
from src.data.batches import LabelledImages, class_weights, epoch_order, on_device, steps, train_batches
from src.dataset import PIXEL_MEAN, PIXEL_STD

COUNTS = (400, 44, 410, 722, 483, 317, 497)  # FER2013's shares: 16.5 times as many Happy as Disgust
MOVED = Augment(rotation=15, flip=0.5, shift=0.1, scale=0.1, shear=10)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transform(settings: Augment, seed: int = 0) -> partial:
    return partial(augment, settings=settings, generator=seeded(seed))


def numbered(n: int) -> LabelledImages:
    """Rows whose images are flat, in the grey of their number, and whose labels are the number modulo 7."""
    numbers = torch.arange(n)
    return LabelledImages(numbers.byte().view(-1, 1, 1, 1).expand(n, 1, 48, 48).contiguous(), numbers % 7)


def numbers_of(batch: LabelledImages) -> torch.Tensor:
    """The row numbers that the middle pixels tell."""
    return ((batch.images[:, 0, 24, 24] * PIXEL_STD + PIXEL_MEAN) * 255).round().long()


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    """Imbalanced labels, shuffled."""
    return torch.arange(7).repeat_interleave(torch.tensor(COUNTS))[torch.randperm(sum(COUNTS), generator=seeded(5))]


# --------------------------------------------------------------------------------------------- on_device


def test_faces_become_tensors_with_a_channel_and_the_same_values():
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    known = np.arange(5, dtype=np.int64)
    rows = on_device(images, known, torch.device("cpu"))
    assert rows.images.shape == (5, 1, 48, 48) and rows.images.dtype == torch.uint8
    assert rows.labels.dtype == torch.int64
    assert np.array_equal(rows.images.squeeze(1).numpy(), images) and np.array_equal(rows.labels.numpy(), known)


# ----------------------------------------------------------------------------------------- class weights


@pytest.mark.parametrize("counts", [COUNTS, (1, 1, 1, 1, 1, 1, 1), (1000, 1, 5, 80, 3, 3, 2)])
def test_class_weights_are_scikit_learns_balanced_ones(counts):
    known = np.arange(7).repeat(counts)
    expected = compute_class_weight("balanced", classes=np.arange(7), y=known)
    weights = class_weights(torch.from_numpy(known))
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_a_class_that_does_not_occur_weighs_nothing_and_leaves_the_others_as_if_it_did_not_exist():
    known = torch.tensor([0] * 6 + [2] * 3 + [6])
    weights = class_weights(known).tolist()
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 6]), y=known.numpy())
    assert [weights[i] for i in (0, 2, 6)] == pytest.approx(expected)
    assert [weights[i] for i in (1, 3, 4, 5)] == [0, 0, 0, 0]


# ------------------------------------------------------------------------------------------- epoch order


def test_without_weights_an_epoch_is_a_permutation(labels):
    order = epoch_order(labels, None, seeded())
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(len(labels)))
    assert not torch.equal(order, torch.arange(len(labels)))


@pytest.mark.parametrize("balanced", [False, True])
def test_the_next_epoch_has_another_order_and_a_seed_repeats_both(labels, balanced):
    weights = class_weights(labels) if balanced else None
    generator, again = seeded(1), seeded(1)
    first, second = epoch_order(labels, weights, generator), epoch_order(labels, weights, generator)
    assert not torch.equal(first, second)
    assert torch.equal(epoch_order(labels, weights, again), first)
    assert torch.equal(epoch_order(labels, weights, again), second)


def test_the_sampler_draws_the_classes_evenly_and_as_many_rows_as_there_are(labels):
    generator, weights = seeded(2), class_weights(labels)
    orders = [epoch_order(labels, weights, generator) for _ in range(10)]
    assert all(order.shape == labels.shape and order.dtype == torch.int64 for order in orders)
    shares = torch.bincount(labels[torch.cat(orders)], minlength=7) / (10 * len(labels))
    torch.testing.assert_close(shares, torch.full((7,), 1 / 7), atol=0.01, rtol=0)


def test_the_sampler_draws_the_rows_of_a_class_evenly(labels):
    generator, weights = seeded(3), class_weights(labels)
    drawn = torch.cat([epoch_order(labels, weights, generator) for _ in range(40)])
    times = torch.bincount(drawn, minlength=len(labels))
    for label, count in enumerate(COUNTS):
        expected = 40 * sum(COUNTS) / 7 / count
        of_class = times[labels == label].double()
        assert of_class.mean().item() == pytest.approx(expected, rel=0.05)
        assert of_class.var().item() == pytest.approx(expected, rel=0.5)  # independent draws: Poisson


# ------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("size", [2, 3, 64])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 63, 64, 65, 66, 128, 129, 130, 200])
def test_steps_counts_the_batches_but_a_last_one_of_one_row(rows, size):
    lengths = [min(size, rows - start) for start in range(0, rows, size)]
    assert steps(rows, size) == sum(length > 1 for length in lengths)


# --------------------------------------------------------------------------------------- train batches


@pytest.mark.parametrize(
    ("n", "size", "lengths"),
    [(96, 32, [32, 32, 32]), (100, 32, [32, 32, 32, 4]), (97, 32, [32, 32, 32]), (98, 32, [32, 32, 32, 2])]
    + [(20, 64, [20])],
)
def test_every_row_comes_once_an_epoch_in_order_but_a_last_one_that_is_alone(n, size, lengths):
    rows = numbered(n)
    order = epoch_order(rows.labels, None, seeded())
    batches = list(train_batches(rows, order, size, preprocess))
    assert [len(batch.labels) for batch in batches] == lengths and len(batches) == steps(n, size)
    assert torch.equal(torch.cat([numbers_of(batch) for batch in batches]), order[: sum(lengths)])


@pytest.mark.parametrize("settings", [Augment(), MOVED], ids=["plain", "moved"])
def test_each_image_keeps_its_label(settings):
    rows = numbered(250)
    for batch in train_batches(rows, epoch_order(rows.labels, None, seeded()), 32, transform(settings, 1)):
        assert batch.images.shape == (len(batch.labels), 1, 48, 48) and batch.images.dtype == torch.float32
        assert batch.labels.dtype == torch.int64
        assert torch.equal(numbers_of(batch) % 7, batch.labels)


def test_without_augmentation_the_images_are_those_that_are_predicted_on():
    images = torch.randint(0, 256, (9, 1, 48, 48), generator=seeded(), dtype=torch.uint8)
    rows = LabelledImages(images, torch.zeros(9, dtype=torch.int64))
    (batch,) = train_batches(rows, torch.arange(9), 16, transform(Augment()))
    assert torch.equal(batch.images, preprocess(images))


def test_the_batches_of_an_epoch_and_the_next_epochs_are_augmented_differently():
    images = torch.randint(0, 256, (1, 1, 48, 48), generator=seeded(), dtype=torch.uint8).expand(8, -1, -1, -1)
    rows, moved = LabelledImages(images, torch.zeros(8, dtype=torch.int64)), transform(MOVED)
    epochs = [list(train_batches(rows, torch.arange(8), 4, moved)) for _ in range(2)]
    every = torch.cat([batch.images for epoch in epochs for batch in epoch])
    assert len(every.flatten(1).unique(dim=0)) == 16


def test_an_epoch_leaves_the_stored_images():
    rows = numbered(40)
    before = rows.images.clone()
    for batch in train_batches(rows, torch.arange(40), 16, transform(MOVED)):
        batch.images.zero_()
    assert torch.equal(rows.images, before)


def test_an_interrupted_epoch_is_resumed_at_its_step():
    rows, order = numbered(50), torch.arange(50).flip(0)
    whole, rest = (list(train_batches(rows, order, 8, preprocess, first)) for first in (0, 4))
    assert len(rest) == len(whole) - 4
    assert all(torch.equal(*pair) for pairs in zip(whole[4:], rest, strict=True) for pair in zip(*pairs, strict=True))
