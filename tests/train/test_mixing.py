"""Mixup and cutmix against their formulas, pixel by pixel; the loss of mixed targets; when batches are mixed."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from src.data.batches import class_weights
from src.train.fit import fit
from src.train.loss import main_class, summed_loss, total_weight
from src.train.mixing import cutmix, mix, mixes, mixup
from src.train.trainer import Trainer
from tests.support.training import equal, make_job, make_member, weights

MIXED = {"mixup": 0.4, "cutmix": 1.0, "network": "linear"}


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def before(values: torch.Tensor) -> torch.Tensor:
    """Each row's predecessor in the batch; the first one's is the last."""
    return torch.stack([values[i - 1] for i in range(len(values))])


def test_mixup_is_the_weighted_mean_of_an_image_and_the_one_before_it():
    images = torch.rand(5, 1, 48, 48)
    mixed, kept = mixup(images.clone(), 0.7, seeded())
    assert 0 < kept < 1
    torch.testing.assert_close(mixed, kept * images + (1 - kept) * before(images))


@pytest.mark.parametrize("side", [48, 31])
@pytest.mark.parametrize("seed", range(8))
def test_cutmix_pastes_one_rectangle_of_the_image_before_and_counts_its_pixels(seed, side):
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, side, side).clone()
    mixed, kept = cutmix(images.clone(), 1.0, seeded(seed))
    pasted = mixed != images
    assert torch.equal(torch.where(pasted, before(images), images), mixed)
    assert pasted.float().mean((1, 2, 3)) == pytest.approx([1 - kept] * 6)
    down, across = pasted[0, 0].any(1), pasted[0, 0].any(0)
    assert torch.equal(pasted[0, 0], down.unsqueeze(1) & across) and torch.equal(pasted, pasted[:1].expand_as(pasted))
    for run in (down, across):
        assert run.int().diff().abs().sum() <= 2  # no gap


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_weight_of_mixup_has_the_beta_distribution(alpha):
    rng, image = seeded(3), torch.zeros(2, 1, 1, 1)
    kept = [mixup(image, alpha, rng)[1] for _ in range(800)]
    assert stats.kstest(kept, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_the_share_of_cutmix_is_that_of_the_beta_distribution_less_what_lies_outside():
    """The mean of what is pasted by the paper's code, with real numbers for the sides."""
    rng, image = seeded(4), torch.zeros(2, 1, 48, 48)
    kept = np.array([cutmix(image, 1.0, rng)[1] for _ in range(1500)])
    side, (y, x) = np.sqrt(seeded(5).random(20_000)), seeded(6).random((2, 20_000))
    width, height = (np.minimum(1, c + side / 2) - np.maximum(0, c - side / 2) for c in (x, y))
    assert kept.mean() == pytest.approx((1 - width * height).mean(), abs=0.02)


def test_targets_are_mixed_as_the_images_are():
    images, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 6, 6])
    for settings in ({"mixup": 1.0}, {"cutmix": 1.0}):
        mixed, targets = mix(images.clone(), labels, make_member(**settings), seeded(2))
        one, other = F.one_hot(labels, 7).float(), F.one_hot(before(labels), 7).float()
        kept = targets[0, 0]
        assert 0 < kept < 1 and not torch.equal(mixed, images)
        torch.testing.assert_close(targets, kept * one + (1 - kept) * other)
        soft = torch.rand(6, 7).softmax(1)
        kept = mix(images.clone(), labels, make_member(**settings), seeded(2)).labels[0, 0]
        again = mix(images.clone(), soft, make_member(**settings), seeded(2)).labels
        torch.testing.assert_close(again, kept * soft + (1 - kept) * before(soft))


def kinds(settings: dict, batches: int = 600) -> dict[str, float]:
    """The shares of the batches that are left alone, mixed by mixup and mixed by cutmix."""
    found, member = {"none": 0, "mixup": 0, "cutmix": 0}, make_member(**settings)
    black_and_white, labels = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4), torch.tensor([0, 1])
    for seed in range(batches):
        images, targets = mix(black_and_white.clone(), labels, member, seeded(seed))
        is_pure = set(images.unique().tolist()) <= {0.0, 1.0}
        found["none" if not targets.is_floating_point() else "cutmix" if is_pure else "mixup"] += 1
    return {kind: count / batches for kind, count in found.items()}


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({"mixup": 1.0}, (0, 1, 0)),
        ({"cutmix": 1.0}, (0, 0, 1)),
        ({"mixup": 1.0, "cutmix": 1.0}, (0, 0.5, 0.5)),
        ({"mixup": 1.0, "cutmix": 1.0, "cutmix_share": 0.3, "mix_probability": 0.7}, (0.3, 0.49, 0.21)),
        ({"mixup": 1.0, "mix_probability": 0.2}, (0.8, 0.2, 0)),
    ],
    ids=str,
)
def test_the_settings_say_which_share_of_the_batches_is_mixed_and_how(settings, shares):
    assert list(kinds(settings).values()) == pytest.approx(shares, abs=0.07)


def test_the_last_epochs_are_not_mixed():
    member = make_member(mixup=0.4, mix_off_fraction=0.3)
    assert [mixes(member, epoch, 10) for epoch in range(1, 11)] == [True] * 7 + [False] * 3
    assert all(mixes(make_member(cutmix=1.0), epoch, 3) for epoch in (1, 2, 3)) and not mixes(make_member(), 1, 3)


def test_a_trainer_mixes_until_the_last_part_of_its_epochs(rows):
    trainer = Trainer(make_job(rows, epochs=4, mix_off_fraction=0.25, **MIXED))
    floating = [{y.is_floating_point() for _, y in trainer.batches(trainer.new_epoch(n))} for n in (1, 2, 3, 4)]
    assert floating == [{True}] * 3 + [{False}]


def largest_part(batch) -> float:
    """The weight of the images of a mixed batch or of those before them, whichever is larger."""
    return min(part.max().item() for part in batch.labels if part.max() < 1)


def test_a_batch_is_mixed_alike_whether_the_epoch_began_there_or_not(rows):
    whole, late = (Trainer(make_job(rows, **MIXED)) for _ in range(2))
    batches = list(whole.batches(whole.new_epoch(2)))
    state = late.new_epoch(2)
    state.step = 3
    found = list(late.batches(state))
    assert len(found) == 2 and all(torch.equal(a.labels, b.labels) for a, b in zip(found, batches[3:], strict=True))
    other = list(whole.batches(whole.new_epoch(3)))
    kept = {round(largest_part(batch), 5) for batch in batches + other}
    assert len(kept) == 10  # each step of each epoch draws its weight


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("balanced", [False, True])
def test_one_hot_rows_have_the_loss_of_their_classes(rows, balanced, smoothing):
    logits, class_weight = torch.randn(70, 7), class_weights(rows.labels) if balanced else None
    one_hot = F.one_hot(rows.labels, 7).float()
    by_class, by_row = (
        summed_loss(logits, targets, class_weight, smoothing) / total_weight(targets, class_weight)
        for targets in (rows.labels, one_hot)
    )
    torch.testing.assert_close(by_row, by_class)
    assert torch.equal(main_class(one_hot), rows.labels) and main_class(rows.labels) is rows.labels


@pytest.mark.parametrize("balancing", ["none", "weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_step_on_a_mixed_batch_descends_the_mean_of_both_images_losses(rows, balancing, smoothing):
    """kept × the loss of the own label + (1 − kept) × that of the other one, each weighted and smoothed."""
    settings = {"optimizer": "sgd", "momentum": 0, "lr": 0.1, "network": "linear", "mixup": 0.4}
    trainer = Trainer(make_job(rows, label_smoothing=smoothing, class_balancing=balancing, **settings))
    net, labels = copy.deepcopy(trainer.net), rows.labels[:20]
    images = rows.images[:20].float() / 255
    x, y = mix(images, labels, trainer.member, seeded(1))
    kept, weight = mixup(images, 0.4, advanced(seeded(1)))[1], class_weights(rows.labels)
    weight = weight if balancing == "weights" else torch.ones(7)
    parts = [
        share * F.cross_entropy(net(x), target, weight, reduction="sum", label_smoothing=smoothing)
        for share, target in ((kept, labels), (1 - kept, before(labels)))
    ]
    expected = sum(parts) / (kept * weight[labels] + (1 - kept) * weight[before(labels)]).sum()
    expected.backward()
    loss, hits = trainer.step(x, y)
    torch.testing.assert_close(loss, expected.detach())
    assert hits == (net(x).argmax(1) == (labels if kept > 0.5 else before(labels))).sum()
    for new, old in zip(trainer.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * old.grad)


def advanced(rng: np.random.Generator) -> np.random.Generator:
    """The generator after the draw that decides whether a batch is mixed."""
    rng.random()
    return rng


def test_mixing_changes_the_training_and_nothing_else_that_is_drawn(rows, held_out):
    plain, mixed = (Trainer(make_job(rows, held_out, **settings)) for settings in ({"network": "linear"}, MIXED))
    states = [(trainer.epoch(1), trainer.generator.get_state(), torch.get_rng_state()) for trainer in (plain, mixed)]
    assert states[0][0]["train_loss"] != states[1][0]["train_loss"]
    assert all(torch.equal(one, other) for one, other in zip(states[0][1:], states[1][1:], strict=True))


def test_a_mixed_training_repeats_to_the_bit_with_its_seed(rows):
    one, same, other = (fit(make_job(rows, seed=seed, **MIXED)) for seed in (5, 5, 6))
    assert equal(weights(one.net), weights(same.net)) and not equal(weights(one.net), weights(other.net))
