"""Sharpness-aware steps against two passes written out; their epochs, batch norms, overflows, memory and time."""

import copy

import pytest
import torch
from torch import nn

from src.train.sam import passes, perturbed, uses_sam
from src.train.trainer import Trainer
from tests.support.training import equal, make_job, make_member, weights

SAM = {"sam_fraction": 1.0, "sam_rho": 0.3, "optimizer": "sgd", "momentum": 0.0, "lr": 0.1}


def trainer_in_epoch(job) -> Trainer:
    """A trainer that has begun its first epoch, so that `step` is one of this epoch."""
    trainer = Trainer(job)
    trainer.epoch_state = trainer.new_epoch(1)
    return trainer


def reference_step(net: nn.Module, x: torch.Tensor, y: torch.Tensor, rho: float, lr: float) -> torch.Tensor:
    """Foret et al. 2021, algorithm 1, with plain SGD; the second pass on a copy, so that batch norms see the first."""
    loss = nn.functional.cross_entropy(net(x), y)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    length = torch.cat([g.flatten() for g in gradients]).norm()
    near = copy.deepcopy(net)
    with torch.no_grad():
        for p, g in zip(near.parameters(), gradients, strict=True):
            p += rho * g / length
    steps = torch.autograd.grad(nn.functional.cross_entropy(near(x), y), list(near.parameters()))
    with torch.no_grad():
        for p, g in zip(net.parameters(), steps, strict=True):
            p -= lr * g
    return loss.detach()


@pytest.mark.parametrize("network", ["linear", "tiny"])
def test_three_steps_are_those_of_two_passes_written_out(rows, network):
    trainer = trainer_in_epoch(make_job(rows, network=network, **SAM))
    net = copy.deepcopy(trainer.net).train()
    trainer.net.train()
    for start in (0, 20, 40):
        x, y = rows.images[start : start + 20].float() / 255, rows.labels[start : start + 20]
        expected = reference_step(net, x, y, rho=0.3, lr=0.1)
        loss, _ = trainer.step(x, y)
        torch.testing.assert_close(loss, expected)
    for (name, found), expected in zip(trainer.net.state_dict().items(), net.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, msg=lambda text, name=name: f"{name}: {text}")


def test_it_looks_as_far_as_rho_and_comes_back_to_the_bit(rows):
    net = Trainer(make_job(rows)).net
    nn.functional.cross_entropy(net(rows.images[:9].float()), rows.labels[:9]).backward()
    before = weights(net)
    with perturbed(net, 0.25):
        moved = [(p.detach() - before[name]).flatten() for name, p in net.named_parameters()]
        assert torch.cat(moved).norm() == pytest.approx(0.25, rel=1e-4)
        net(rows.images[:9].float())
    assert equal(weights(net), before)  # running statistics and their counters too
    with pytest.raises(KeyboardInterrupt), perturbed(net, 0.25):
        raise KeyboardInterrupt
    assert equal(weights(net), before) and net[1].track_running_stats


def test_a_gradient_that_overflowed_leaves_the_weights_and_statistics_finite_and_as_they_were(rows):
    net = Trainer(make_job(rows)).net
    (net(rows.images[:9].float()).sum() * torch.inf).backward()
    before = weights(net)
    with perturbed(net, 0.25):
        assert not torch.isfinite(net(rows.images[:9].float())).all()  # what a scaler sees, and skips the step for
    assert equal(weights(net), before)


def test_only_the_last_epochs_are_sharpness_aware(rows):
    member = make_member(sam_fraction=0.3)
    assert [uses_sam(member, epoch, 10) for epoch in range(1, 11)] == [False] * 7 + [True] * 3
    assert [passes(member, epoch, 10) for epoch in (1, 7, 8)] == [1, 1, 2]
    plain, late = (Trainer(make_job(rows, sam_fraction=fraction)) for fraction in (0.0, 0.3))
    histories = [[trainer.epoch(number)["train_loss"] for number in (1, 2, 3)] for trainer in (plain, late)]
    assert histories[0][:2] == histories[1][:2] and histories[0][2] != histories[1][2]
    assert not equal(weights(plain.net), weights(late.net))


def test_a_frozen_body_stays_as_it_is_in_sharpness_aware_epochs(rows):
    trainer = Trainer(make_job(rows, freeze_epochs=3, **SAM))
    body = [value.clone() for name, value in trainer.net.state_dict().items() if not name.startswith("5.")]
    trainer.epoch(1)
    after = [value for name, value in trainer.net.state_dict().items() if not name.startswith("5.")]
    assert all(torch.equal(one, other) for one, other in zip(body, after, strict=True))
