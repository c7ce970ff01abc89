"""The faster convolutions against the library's own."""

import pytest
import torch
from torch import nn

from src import models
from src.train import convolution
from src.train.convolution import Convolution, accelerate

AVX2 = torch.backends.cpu.get_cpu_capability() == "AVX2" and torch.backends.nnpack.is_available()
measured = pytest.mark.skipif(not AVX2, reason="this CPU keeps the library's convolutions")

# inputs, outputs, side, kernel, stride, padding
TRANSFORMED = [(32, 32, 24, 3, 1, 1), (32, 48, 12, 3, 1, 1), (40, 32, 6, 3, 1, 1), (32, 64, 24, 5, 1, 2)]
TRANSFORMED += [(64, 32, 18, 3, 1, 1), (32, 32, 18, 5, 1, 2), (32, 32, 6, 5, 1, 2)]
PRODUCT = [(1, 8, 48, 5, 1, 2), (1, 16, 24, 4, 2, 1), (1, 4, 33, 7, 2, 3), (16, 24, 3, 3, 1, 1), (8, 16, 6, 3, 2, 1)]
PRODUCT += [(1, 5, 32, 16, 16, 0), (32, 32, 5, 3, 2, 1)]
TAPS = [(64, 48, 2, 3, 1, 1), (32, 40, 3, 3, 1, 1), (32, 64, 3, 3, 2, 1), (48, 32, 3, 5, 1, 2), (32, 32, 4, 3, 3, 1)]
TAPS += [(128, 130, 7, 3, 1, 1)]
LIBRARY = [(32, 32, 48, 3, 1, 1), (16, 32, 24, 3, 1, 1), (32, 32, 26, 3, 1, 1), (32, 32, 24, 3, 1, 0)]


pytestmark = pytest.mark.usefixtures("one_thread")


def layers(inputs, outputs, kernel, stride, padding, bias=True) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The library's layer, and the faster one with equal weights."""
    torch.manual_seed(0)
    plain = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)
    fast = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias))
    fast[0].load_state_dict(plain.state_dict())
    accelerate(fast)
    return plain, fast[0]


def results(layer: nn.Module, x: torch.Tensor, out: torch.Tensor) -> list[torch.Tensor]:
    """Output, and the gradients of input, weights and bias."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    y.backward(out)
    return [y, x.grad, *(p.grad for p in layer.parameters())]


@measured
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", TRANSFORMED + PRODUCT + TAPS + LIBRARY, ids=str)
def test_output_and_gradients_are_the_librarys(shape, layout):
    inputs, outputs, side, *rest = shape
    plain, fast = layers(inputs, outputs, *rest)
    assert type(fast) is Convolution
    x = torch.randn(5, inputs, side, side).contiguous(memory_format=layout)
    out = torch.randn_like(plain(x)).contiguous(memory_format=layout)
    for mine, reference in zip(results(fast, x, out), results(plain, x, out), strict=True):
        assert mine.shape == reference.shape
        assert (mine - reference).abs().max() < 1e-3 * reference.std()


@pytest.fixture
def taken(monkeypatch) -> list[str]:
    """The ways that were taken, but for the library's."""
    found = []
    for room, name in ((convolution, "nnpack"), (convolution, "by_product"), (convolution.taps, "weight_gradient")):
        real = getattr(room, name)
        monkeypatch.setattr(room, name, lambda *a, n=name, r=real: found.append(n) or r(*a))
    return found


@measured
@pytest.mark.parametrize(
    ("shapes", "way"),
    [(TRANSFORMED, "nnpack"), (PRODUCT, "by_product"), (TAPS, "weight_gradient"), (LIBRARY, "library")],
)
def test_each_shape_takes_its_way(shapes, way, taken):
    for inputs, outputs, side, *rest in shapes:
        taken.clear()
        _, fast = layers(inputs, outputs, *rest, bias=False)
        fast(torch.randn(2, inputs, side, side)).sum().backward()
        assert (set(taken) or {"library"}) == {way}


@measured
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("shape", [(32, 48, 5, 1, 2), (32, 32, 3, 1, 1)], ids=str)
def test_several_threads_share_the_images_of_large_kernels_alone(shape, threads, taken):
    torch.set_num_threads(threads)
    plain, fast = layers(*shape)
    x = torch.randn(7, 32, 12, 12)
    out = torch.randn_like(plain(x))
    for mine, reference in zip(results(fast, x, out), results(plain, x, out), strict=True):
        assert (mine - reference).abs().max() < 1e-3 * reference.std()
    assert len(taken) == (3 * threads if shape[2] == 5 else 0)
    runs = [results(layers(*shape)[1], x, out) for _ in range(2)]
    assert all(torch.equal(first, again) for first, again in zip(*runs, strict=True))


@measured
def test_an_error_in_another_thread_reaches_the_caller():
    torch.set_num_threads(2)

    def fails_on_the_second(part):
        if part[0] == 1:
            raise ValueError("of the other thread")
        return part

    with pytest.raises(ValueError, match="of the other thread"):
        convolution.spread(fails_on_the_second, torch.arange(2))


@measured
def test_an_input_or_weights_without_gradient_are_left_out():
    _, fast = layers(32, 32, 3, 1, 1)
    fast.requires_grad_(False)
    x = torch.randn(2, 32, 12, 12, requires_grad=True)
    fast(x).sum().backward()
    assert x.grad is not None and fast.weight.grad is None and fast.bias.grad is None


@measured
def test_equal_inputs_give_equal_bits():
    _, fast = layers(32, 48, 3, 1, 1)
    x = torch.randn(7, 32, 24, 24)
    first, again = (results(fast, x, torch.ones(7, 48, 24, 24)) for _ in range(2))
    fast.zero_grad()
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


@pytest.mark.parametrize("missing", ["capability", "nnpack"])
def test_where_it_was_not_measured_or_is_not_there_the_librarys_layers_stay(missing, monkeypatch):
    if missing == "capability":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    else:
        monkeypatch.setattr(torch.backends.nnpack, "is_available", lambda: False)
    net = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1))
    accelerate(net)
    assert type(net[0]) is nn.Conv2d


@measured
@pytest.mark.parametrize(
    "special",
    [{"groups": 2}, {"dilation": 2}, {"padding_mode": "reflect"}, {"stride": (1, 2)}, {"padding": "same"}],
    ids=str,
)
def test_special_convolutions_stay_the_librarys(special):
    net = nn.Sequential(nn.Conv2d(32, 32, 3, **special), nn.Conv2d(32, 32, 1))
    accelerate(net)
    assert {type(layer) for layer in net} == {nn.Conv2d}


@measured
def test_in_half_precision_the_librarys_way_is_taken():
    _, fast = layers(32, 32, 3, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(torch.randn(2, 32, 12, 12)).dtype == torch.bfloat16


@measured
@pytest.mark.parametrize("name", ["simple_cnn_v2", "attention_cnn", "resnet18", "compact_cnn"])
def test_a_whole_network_gives_the_same_logits_gradients_and_weights(name):
    torch.manual_seed(1)
    plain = models.create(name).eval()
    fast = models.create(name).eval()
    fast.load_state_dict(plain.state_dict())
    accelerate(fast)
    assert list(fast.state_dict()) == list(plain.state_dict())
    for p in plain.parameters():  # last layers that begin at zero would hide all behind them
        if not p.any():
            torch.nn.init.normal_(p, std=0.1)
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(4, 1, 48, 48)
    grads = []
    for net in (plain, fast):
        logits = net(x)
        nn.functional.cross_entropy(logits, torch.arange(4)).backward()
        grads.append([logits, *(p.grad for p in net.parameters())])
    for reference, mine in zip(*grads, strict=True):
        assert torch.allclose(mine, reference, rtol=1e-2, atol=2e-3 * reference.abs().max().item() + 1e-6)
