"""Batches: each row once an epoch with its own label, or classes drawn evenly; the weights are scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from src.data.augment import preprocess
from src.data.batches import LabelledImages, class_weights, epoch_order, on_device, steps, train_batches
from src.dataset import PIXEL_MEAN, PIXEL_STD

COUNTS = (400, 44, 410, 722, 483, 317, 497)  # FER2013's shares: 16.5 times as many Happy as Disgust


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_faces_become_tensors_with_a_channel_and_the_same_values():
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    known = np.arange(5, dtype=np.int64)
    rows = on_device(images, known, torch.device("cpu"))
    assert rows.images.shape == (5, 1, 48, 48) and rows.images.dtype == torch.uint8
    assert rows.labels.dtype == torch.int64
    assert np.array_equal(rows.images.squeeze(1).numpy(), images) and np.array_equal(rows.labels.numpy(), known)


@pytest.mark.parametrize("counts", [COUNTS, (1000, 1, 5, 80, 3, 3, 2), (6, 0, 3, 0, 0, 0, 1)])
def test_class_weights_are_scikit_learns_balanced_ones_and_0_for_a_class_that_does_not_occur(counts):
    known, expected = np.arange(7).repeat(counts), np.zeros(7)
    expected[np.unique(known)] = compute_class_weight("balanced", classes=np.unique(known), y=known)
    weights = class_weights(torch.from_numpy(known))
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("balanced", [False, True])
def test_the_next_epoch_has_another_order_and_a_seed_repeats_both(labels, balanced):
    weights = class_weights(labels) if balanced else None
    generator, again = seeded(1), seeded(1)
    first, second = epoch_order(labels, weights, generator), epoch_order(labels, weights, generator)
    assert not torch.equal(first, second)
    assert torch.equal(epoch_order(labels, weights, again), first)
    assert torch.equal(epoch_order(labels, weights, again), second)
    assert balanced or torch.equal(first.sort().values, torch.arange(len(labels)))


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


# --------------------------------------------------------------------------------------- train batches


@pytest.mark.parametrize(
    ("n", "size", "lengths"),
    [
        (96, 32, [32, 32, 32]),
        (100, 32, [32, 32, 32, 4]),
        (97, 32, [32, 32, 32]),
        (98, 32, [32, 32, 32, 2]),
    ]
    + [(20, 64, [20])],
)
def test_every_row_comes_once_an_epoch_in_order_but_a_last_one_that_is_alone(n, size, lengths):
    rows = numbered(n)
    order = epoch_order(rows.labels, None, seeded())
    batches = list(train_batches(rows, order, size, preprocess))
    assert [len(batch.labels) for batch in batches] == lengths and len(batches) == steps(n, size)
    assert steps(0, size) == steps(1, size) == 0
    assert torch.equal(torch.cat([numbers_of(batch) for batch in batches]), order[: sum(lengths)])
    assert all(torch.equal(numbers_of(batch) % 7, batch.labels) for batch in batches)


def test_an_interrupted_epoch_is_resumed_at_its_step():
    rows, order = numbered(50), torch.arange(50).flip(0)
    whole, rest = (list(train_batches(rows, order, 8, preprocess, first)) for first in (0, 4))
    assert len(rest) == len(whole) - 4
    assert all(torch.equal(*pair) for pairs in zip(whole[4:], rest, strict=True) for pair in zip(*pairs, strict=True))
