"""Optimizers against torch's unfused ones, schedules by their shape, the moving average against a plain loop."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from src import models
from src.config import Member
from src.train.optimizer import MovingAverage, Schedule, make_optimizer


def member(**settings) -> Member:
    return Member("m", **settings)


def small_net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def smooth_net() -> nn.Sequential:
    """Without batch norm: a bias before it has no gradient but rounding errors, which Adam blows up to full steps."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[torch.Tensor]:
    """The weights after `steps` steps on batches that are the same for every net."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(8, 5, generator=generator)).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in net.parameters()]


# --- optimizers -----------------------------------------------------------------------------------------------------

REFERENCES = {
    "sgd": (torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", REFERENCES)
def test_six_steps_are_those_of_torchs_unfused_optimizer(name, weight_decay):
    kind, extra = REFERENCES[name]
    ours, theirs = smooth_net(), smooth_net()
    settings = member(optimizer=name, lr=0.02, weight_decay=weight_decay, momentum=0.8)
    reference = kind(theirs.parameters(), lr=0.02, weight_decay=weight_decay, fused=False, foreach=False, **extra)
    for mine, other in zip(train(ours, make_optimizer(settings, ours), 6), train(theirs, reference, 6), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_sgd_without_momentum_is_plain_gradient_descent():
    net = smooth_net()
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = make_optimizer(member(optimizer="sgd", lr=0.5, momentum=0), net)
    after = train(net, optimizer, 1)
    for old, new, p in zip(before, after, net.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.5 * p.grad)


@pytest.mark.parametrize(("name", "shrinks"), [("adamw", True), ("adam", False)])
def test_only_adamw_shrinks_every_weight_by_the_same_share(name, shrinks):
    net = nn.Linear(2, 2, bias=False)
    nn.init.constant_(net.weight, 2.0)
    net.weight.grad = torch.zeros(2, 2)
    make_optimizer(member(optimizer=name, lr=0.1, weight_decay=0.3), net).step()
    assert torch.allclose(net.weight, torch.tensor(2 * (1 - 0.1 * 0.3))) == shrinks


# --- rates by layers ------------------------------------------------------------------------------------------------


def decayed(network: str, size: int | None = None, **settings) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1)
    net = models.create(network, image_size=size)
    common = {"optimizer": "adamw", "lr": 0.1, "weight_decay": 0.05, "layer_decay": 0.5}
    return net, make_optimizer(member(network=network, image_size=size, **(common | settings)), net)


def by_name(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter; each must be in one group."""
    names = {id(p): name for name, p in models.body_of(net).named_parameters()}
    groups = [(names[id(p)], g) for g in optimizer.param_groups for p in g["params"]]
    assert sorted(name for name, _ in groups) == sorted(names.values())
    return {name: (group["lr"], group["weight_decay"]) for name, group in groups}


def depth_in_a_vit(name: str, blocks: int) -> int:
    """Bao et al. 2022: embeddings are layer 0, block i is layer i + 1, then the head; the last norm is its block's."""
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return {"norm": blocks, "head": blocks + 1}.get(name.split(".")[0], 0)


@pytest.mark.parametrize("size", [None, 48])
def test_each_layer_of_a_vit_learns_at_half_the_rate_of_the_next(size):
    net, optimizer = decayed("timm:test_vit", size)
    blocks = len(models.body_of(net).blocks)
    for name, (rate, _) in by_name(net, optimizer).items():
        below = blocks + 1 - depth_in_a_vit(name, blocks)
        assert rate == pytest.approx(0.1 * 0.5**below), name


def test_norms_biases_and_embeddings_of_positions_are_spared_the_weight_decay():
    net, optimizer = decayed("timm:test_vit", 48)
    shapes = {name: p.ndim for name, p in models.body_of(net).named_parameters()}
    for name, (_, decay) in by_name(net, optimizer).items():
        spared = shapes[name] == 1 or name in ("pos_embed", "cls_token")
        assert decay == (0 if spared else 0.05), name


@pytest.mark.parametrize("network", ["resnet18", "mobilevit_xxs", "timm:test_resnet", "timm:mobilenetv3_small_050"])
def test_rates_rise_from_the_first_layer_to_the_last_which_has_the_members(network):
    net, optimizer = decayed(network)
    rates = [rate for rate, _ in by_name(net, optimizer).values()]
    order = by_name(net, optimizer)
    body, head = models.body_of(net), models.head_of(net)
    names = [name for name, p in body.named_parameters() if not any(p is q for q in head.parameters())]
    of_head = {order[name][0] for name in order if name not in names}
    assert of_head == {0.1} and max(rates) == 0.1
    weights = [name for name in names if "shortcut" not in name and "downsample" not in name]
    assert order[weights[0]][0] == min(rates) < order[weights[-1]][0]


def test_without_a_layer_decay_all_weights_have_one_rate_and_one_decay():
    net, optimizer = decayed("timm:test_resnet", layer_decay=1.0)
    assert set(by_name(net, optimizer).values()) == {(0.1, 0.05)}


@pytest.mark.parametrize("name", REFERENCES)
def test_every_optimizer_takes_rates_by_layers(name):
    net, optimizer = decayed("timm:test_vit", 48, optimizer=name)
    assert type(optimizer) is REFERENCES[name][0] and len({rate for rate, _ in by_name(net, optimizer).values()}) > 3


@pytest.mark.parametrize("kind", ["constant", "plateau", "cosine", "one_cycle"])
def test_every_schedule_keeps_the_layers_rates_in_proportion(kind):
    """Also far down: torch's plateau by itself leaves a rate alone whose fall would be less than 1e-8."""
    settings = {"schedule": kind, "warmup_fraction": 0.2, "epochs": 20, "lr_patience": 0, "lr": 2e-5}
    _, optimizer = decayed("timm:test_vit", 48, **settings)
    first, seen = [group["lr"] for group in optimizer.param_groups], []
    plan = Schedule(member(layer_decay=0.5, **settings), optimizer, 4)
    for _ in range(19):
        for _ in range(4):
            optimizer.step()
            plan.step()
            seen.append(plan.rate)
            rates = [group["lr"] for group in optimizer.param_groups]
            assert [rate / max(rates) for rate in rates] == pytest.approx([rate / max(first) for rate in first])
        plan.epoch(1.0)
    assert max(seen) == pytest.approx(2e-5) and (kind == "constant") == (seen[-1] == max(seen))


# --- schedules ------------------------------------------------------------------------------------------------------


def schedule(steps: int, **settings) -> Schedule:
    settings = member(optimizer="sgd", **settings)
    return Schedule(settings, make_optimizer(settings, nn.Linear(1, 1)), steps)


def rates(steps: int, losses: list[float] | None = None, **settings) -> list[float]:
    """The learning rate of each step of a whole training; `losses` is the validation loss of each epoch."""
    losses = losses or [1.0] * settings["epochs"]
    plan, seen = schedule(steps, **settings), []
    for loss in losses:
        for _ in range(steps):
            seen.append(plan.rate)
            plan.optimizer.step()
            plan.step()
        plan.epoch(loss)
    return seen


def rises(values: list[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


def falls(values: list[float]) -> bool:
    return rises(values[::-1])


def test_constant_is_constant():
    assert rates(5, epochs=3, lr=0.3, schedule="constant") == [0.3] * 15


def test_constant_with_warm_up_rises_in_equal_parts_and_stays():
    seen = rates(5, epochs=4, lr=0.6, schedule="constant", warmup_fraction=0.25)
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5] + [0.6] * 15)


def test_cosine_is_half_a_cosine_from_the_peak_to_nearly_zero():
    seen = rates(10, epochs=4, lr=0.2, schedule="cosine")
    assert seen == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 40)) for step in range(40)])
    assert seen[0] == 0.2 and falls(seen) and 0 < seen[-1] < 0.001


def test_cosine_with_warm_up_starts_low_peaks_at_its_end_and_falls_to_nearly_zero():
    seen = rates(10, epochs=4, lr=0.2, schedule="cosine", warmup_fraction=0.25)
    assert seen[0] == pytest.approx(0.2 / 11)
    assert seen[10] == max(seen) == 0.2
    assert rises(seen[:11]) and falls(seen[10:]) and 0 < seen[-1] < 0.001


@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_a_cosine_of_some_epochs_comes_back_as_torchs_does_past_its_t_max(warmup):
    """The notebooks' T_max of 10 in 50 epochs: down in ten epochs, up in ten, and so on."""
    seen = rates(6, epochs=50, lr=0.2, schedule="cosine", cosine_epochs=10, warmup_fraction=warmup)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.2)
    reference, expected = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10 * 6), []
    for _ in range(300):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    rising = round(300 * warmup)
    assert seen[rising:] == pytest.approx(expected[: 300 - rising], abs=1e-9)
    assert rises(seen[: rising + 1]) and seen[rising + 60] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", ["constant", "plateau", "one_cycle"])
def test_the_epochs_of_the_cosine_are_nothing_to_the_other_schedules(kind):
    some, none = (rates(3, epochs=4, lr=0.1, schedule=kind, cosine_epochs=n) for n in (2, 0))
    assert some == none


@pytest.mark.parametrize(("warmup", "peak"), [(0.2, 7), (0.5, 19), (0.0, 11)])
def test_one_cycle_peaks_where_the_warm_up_ends(warmup, peak):
    """Without a warm-up of its own it is torch's three tenths."""
    seen = rates(10, epochs=4, lr=0.2, schedule="one_cycle", warmup_fraction=warmup)
    assert seen[peak] == max(seen) == pytest.approx(0.2)
    assert seen[0] == pytest.approx(0.2 / 25) and seen[-1] < 1e-6
    assert rises(seen[: peak + 1]) and falls(seen[peak:])


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("kind", ["constant", "plateau", "cosine", "one_cycle"])
def test_a_training_of_any_few_steps_goes_through_at_rates_within_the_peak(kind, epochs, warmup):
    """One cycle once divided by zero where its rise was one step long: 5 steps and a warm-up of a fifth."""
    for steps in (1, 2):
        seen = rates(steps, epochs=epochs, lr=0.2, schedule=kind, warmup_fraction=warmup)
        assert len(seen) == epochs * steps and all(0 < rate <= 0.2 + 1e-9 for rate in seen)


def per_epoch(seen: list[float], steps: int) -> list[float]:
    """The rate of each epoch, if it is the same at each of its steps."""
    assert all(len(set(seen[at : at + steps])) == 1 for at in range(0, len(seen), steps))
    return seen[::steps]


def test_plateau_falls_by_its_factor_after_one_bad_epoch_more_than_its_patience():
    losses = [1.0, 0.9, 0.9, 0.95, 0.9, 0.9, 0.9, 0.9, 0.9]
    seen = rates(3, losses, epochs=9, lr=0.4, schedule="plateau", lr_patience=2, lr_factor=0.5)
    assert per_epoch(seen, 3) == pytest.approx([0.4] * 5 + [0.2] * 3 + [0.1])


def test_plateau_keeps_its_rate_while_the_loss_falls():
    losses = [1.0 - 0.1 * epoch for epoch in range(8)]
    seen = rates(3, losses, epochs=8, lr=0.4, schedule="plateau", lr_patience=0, lr_factor=0.1)
    assert per_epoch(seen, 3) == [0.4] * 8


def test_plateau_does_not_fall_in_the_warm_up_and_is_not_reset_after_it():
    """Two epochs of warm-up with a loss that never improves; with no patience each later epoch but the first falls."""
    seen = rates(
        4, [1.0] * 6, epochs=6, lr=0.9, schedule="plateau", warmup_fraction=1 / 3, lr_patience=0, lr_factor=0.5
    )
    assert seen[:8] == pytest.approx([0.1 * step for step in range(1, 9)])
    # The second epoch ends with the warm-up, so its loss is the first one that counts.
    assert per_epoch(seen[8:], 4) == pytest.approx([0.9, 0.45, 0.225, 0.1125])


def test_epochs_do_not_move_the_other_schedules():
    for kind in ("constant", "cosine", "one_cycle"):
        good = rates(3, [1.0, 0.5, 0.2], epochs=3, lr=0.1, schedule=kind)
        assert good == rates(3, [1.0, 5.0, math.inf], epochs=3, lr=0.1, schedule=kind)


# --- the moving average ---------------------------------------------------------------------------------------------


def averaged_by_a_loop(states: list[dict], decay: float) -> dict:
    kept = {name: value.double() if value.is_floating_point() else value for name, value in states[0].items()}
    for t, state in enumerate(states[1:], start=1):
        keep = min(decay, (1 + t) / (10 + t))
        for name, value in state.items():
            kept[name] = keep * kept[name] + (1 - keep) * value.double() if value.is_floating_point() else value
    return kept


def states_and_average(decay: float, steps: int) -> tuple[list[dict], nn.Module]:
    """The states of a net in training, and their moving average."""
    net = small_net()
    average, optimizer, states = MovingAverage(net, decay), torch.optim.SGD(net.parameters(), 0.3), []
    for step in range(steps):
        optimizer.zero_grad()
        net(torch.randn(8, 5, generator=torch.Generator().manual_seed(step)) + step).square().mean().backward()
        optimizer.step()
        average.update()
        states.append(copy.deepcopy(net.state_dict()))
    return states, average.module


@pytest.mark.parametrize("decay", [0.15, 0.5, 0.999])
def test_the_moving_average_is_that_of_a_plain_loop(decay):
    """Weights and batch norm's statistics are averaged, its integer count of batches is copied."""
    states, average = states_and_average(decay, 30)
    expected = averaged_by_a_loop(states, decay)
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} < set(expected)
    for name, value in average.state_dict().items():
        assert value.dtype == states[0][name].dtype
        torch.testing.assert_close(value, expected[name].to(value.dtype), rtol=1e-4, atol=1e-5, msg=name)
    assert average.state_dict()["1.num_batches_tracked"] == 30


def test_a_young_average_forgets_the_first_weights():
    """A decay of 0.999 alone would still hold 97 % of the first weights after 30 steps; the warmed-up one 0.2 %."""
    net = nn.Linear(1, 1, bias=False)
    average = MovingAverage(net, 0.999)
    for value in [1.0] + [0.0] * 29:
        nn.init.constant_(net.weight, value)
        average.update()
    assert 0 < average.module.weight.item() < 0.01


def test_the_average_lives_apart_from_the_net():
    states, average = states_and_average(0.9, 5)
    assert not torch.equal(average.state_dict()["0.weight"], states[-1]["0.weight"])
    net = small_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    average = MovingAverage(net, 0.9)
    average.update()
    with torch.no_grad():
        average.module[0].weight.zero_()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
