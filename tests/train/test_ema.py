"""The moving average of the weights against a plain loop."""

import copy

import pytest
import torch
from torch import nn

from src.train.ema import ModelEMA


def make_net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def averaged_by_a_loop(states: list[dict], decay: float) -> dict:
    kept = {name: value.double() if value.is_floating_point() else value for name, value in states[0].items()}
    for t, state in enumerate(states[1:], start=1):
        factor = min(decay, (1 + t) / (10 + t))
        for name, value in state.items():
            kept[name] = factor * kept[name] + (1 - factor) * value.double() if value.is_floating_point() else value
    return kept


def states_and_ema(decay: float, steps: int) -> tuple[list[dict], nn.Module]:
    """The states of a net in training, and their moving average."""
    net = make_net()
    ema, optimizer, states = ModelEMA(net, decay), torch.optim.SGD(net.parameters(), 0.3), []
    for step in range(steps):
        optimizer.zero_grad()
        net(torch.randn(8, 5, generator=torch.Generator().manual_seed(step)) + step).square().mean().backward()
        optimizer.step()
        ema.update()
        states.append(copy.deepcopy(net.state_dict()))
    return states, ema.module


@pytest.mark.parametrize("decay", [0.15, 0.5, 0.999])
def test_the_moving_average_is_that_of_a_plain_loop(decay):
    """Weights and batch norm's statistics are averaged, its integer count of batches is copied."""
    states, averaged = states_and_ema(decay, 30)
    expected = averaged_by_a_loop(states, decay)
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} < set(expected)
    for name, value in averaged.state_dict().items():
        assert value.dtype == states[0][name].dtype
        torch.testing.assert_close(value, expected[name].to(value.dtype), rtol=1e-4, atol=1e-5, msg=name)
    assert averaged.state_dict()["1.num_batches_tracked"] == 30


def test_the_average_lives_apart_from_the_net():
    states, averaged = states_and_ema(0.9, 5)
    assert not torch.equal(averaged.state_dict()["0.weight"], states[-1]["0.weight"])
    net = make_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ema = ModelEMA(net, 0.9)
    ema.update()
    with torch.no_grad():
        ema.module[0].weight.zero_()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
