"""Convolutions over small maps against torch's own."""

import copy

import pytest
import torch
from torch import nn

from src import models
from src.train.small_map_conv import SmallMapConv2d, replace_small_map_convs, runs

pytestmark = pytest.mark.usefixtures("one_thread")

# inputs, outputs, side, kernel, stride, padding
SMALL = [(64, 48, 2, 3, 1, 1), (32, 40, 3, 3, 1, 1), (32, 64, 3, 3, 2, 1), (48, 32, 3, 5, 1, 2), (32, 32, 4, 3, 3, 1)]
LARGE = [(32, 32, 6, 3, 1, 1), (32, 32, 6, 3, 2, 1)]


@pytest.fixture(autouse=True)
def avx2(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def results(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> list[torch.Tensor]:
    """Output, and the gradients of input, weights and bias."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], grad)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SMALL + LARGE, ids=str)
def test_output_and_gradients_are_those_of_torch(shape, bias, layout):
    inputs, outputs, side, kernel, stride, padding = shape
    net = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias))
    reference = copy.deepcopy(net)
    replace_small_map_convs(net)
    assert type(net[0]) is SmallMapConv2d
    x = torch.randn(5, inputs, side, side).contiguous(memory_format=layout)
    grad = torch.randn_like(reference(x)).contiguous(memory_format=layout)
    for found, expected in zip(results(net, x, grad), results(reference, x, grad), strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-3 * expected.std()
    assert all(torch.equal(*pair) for pair in zip(results(net, x, grad), results(net, x, grad), strict=True))


@pytest.mark.parametrize(("side", "products"), [(2, 16), (3, 49)])
def test_no_multiplication_meets_the_padding(side, products):
    assert sum(of.stop - of.start for _, _, of, _ in runs(side, 3, 1, 1)) == products  # of 9 for each pixel


def test_a_replaced_network_keeps_names_weights_random_state_and_results():
    torch.manual_seed(1)
    net = models.create("resnet18").eval()
    reference, state = copy.deepcopy(net), torch.get_rng_state()
    replace_small_map_convs(net)
    assert any(isinstance(layer, SmallMapConv2d) for layer in net.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in reference.named_parameters()]
    reference.load_state_dict(net.state_dict(), strict=True)
    x = torch.randn(4, 1, 48, 48)
    torch.testing.assert_close(net(x), reference(x), rtol=1e-3, atol=1e-3)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), reference(x), rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(x), reference(x))


def test_frozen_weights_get_no_gradient():
    net = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1))
    replace_small_map_convs(net.requires_grad_(False))
    x = torch.randn(2, 32, 2, 2, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None and net[0].weight.grad is None


@pytest.mark.parametrize(
    "special",
    [{"groups": 2}, {"dilation": 2}, {"padding_mode": "reflect"}, {"stride": (1, 2)}, {"padding": "same"}],
    ids=str,
)
def test_other_convolutions_stay(special):
    few, unpadded = nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 32, 3)
    net = nn.Sequential(nn.Conv2d(32, 32, 3, **{"padding": 1} | special), nn.Conv2d(32, 32, 1), few, unpadded)
    replace_small_map_convs(net)
    assert {type(layer) for layer in net} == {nn.Conv2d}


def test_other_processors_keep_the_convolutions_of_torch(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    net = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1))
    replace_small_map_convs(net)
    assert type(net[0]) is nn.Conv2d
