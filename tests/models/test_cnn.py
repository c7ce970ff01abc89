"""The kit's own networks against the same ones written plainly, after the notebooks' descriptions and Woo et al. 2018.

Plainly written: functions of torch over the parameters in their order, in double precision, batch norm in training.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src import models
from src.models.attention_cnn import CBAM, SpatialAttention
from tests.support.networks import faces, make, parameters

CNNS = [name for name in models.names() if models.family(name).endswith("_cnn")]
OWN_DROPOUT = {
    "simple_cnn_v0": [],
    "simple_cnn_v1": [0.3, 0.3],
    "simple_cnn_v2": [0.4, 0.4],
    "deep_cnn_v1": [0.5],
    "deep_cnn_v2": [0.7],
    "attention_cnn": [0.5],
    "compact_cnn": [0.2],
}


def conv_norm(x: Tensor, p: list, padding: int = 1) -> Tensor:
    """Convolution with bias, then batch norm."""
    weight, bias, gain, offset = p
    return F.batch_norm(F.conv2d(x, weight, bias, padding=padding), None, None, gain, offset, training=True)


def normed_head(x: Tensor, p: list) -> Tensor:
    """Global average pooling, a hidden layer with batch norm and ReLU, the logits."""
    x = F.batch_norm(F.linear(x.mean((2, 3)), p[0], p[1]), None, None, p[2], p[3], training=True)
    return F.linear(F.relu(x), p[4], p[5])


def plain_v0(x: Tensor, p: list) -> Tensor:
    x = F.max_pool2d(F.relu(F.conv2d(x, p[0], p[1], padding=1)), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[2], p[3])), p[4], p[5])


def plain_v1(x: Tensor, p: list) -> Tensor:
    for weight, bias in (p[0:2], p[2:4]):
        x = F.max_pool2d(F.relu(F.conv2d(x, weight, bias, padding=2)), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[4], p[5])), p[6], p[7])


def plain_v2(x: Tensor, p: list) -> Tensor:
    for block in (p[0:4], p[4:8]):
        x = F.max_pool2d(F.relu(conv_norm(x, block, padding=2)), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[8], p[9])), p[10], p[11])


def plain_deep(x: Tensor, p: list) -> Tensor:
    for i in range(4):
        x = F.max_pool2d(F.relu(conv_norm(x, p[4 * i : 4 * i + 4])), 2)
    return normed_head(x, p[16:])


def plain_cbam(x: Tensor, p: list) -> tuple[Tensor, Tensor]:
    """Equations 1 to 3 of Woo et al.: what (channels), then where (positions); the features and where."""

    def shared_mlp(pooled: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(pooled.flatten(1), p[0], p[1])), p[2], p[3])

    n, c = x.shape[:2]
    what = torch.sigmoid(shared_mlp(F.adaptive_avg_pool2d(x, 1)) + shared_mlp(F.adaptive_max_pool2d(x, 1)))
    x = what.view(n, c, 1, 1) * x
    average, largest = x.sum(1, keepdim=True) / c, x.max(1, keepdim=True).values
    where = torch.sigmoid(F.conv2d(torch.cat([average, largest], 1), p[4], p[5], padding=3))
    return where * x, where


def plain_attention_with_maps(x: Tensor, p: list) -> tuple[Tensor, list[Tensor]]:
    maps = []
    for i in range(3):
        block = p[14 * i : 14 * i + 14]
        for conv in (block[0:4], block[4:8]):
            x = F.relu(conv_norm(x, conv))
        x, where = plain_cbam(F.max_pool2d(x, 2), block[8:])
        maps.append(where)
    return normed_head(x, p[42:]), maps


def plain_attention(x: Tensor, p: list) -> Tensor:
    return plain_attention_with_maps(x, p)[0]


def plain_compact(x: Tensor, p: list) -> Tensor:
    strides, pooled = (2, 1, 1, 1, 1, 1), (1, 3)  # a pooling after the second and the fourth
    for i, stride in enumerate(strides):
        weight, gain, offset = p[3 * i : 3 * i + 3]
        x = F.batch_norm(F.conv2d(x, weight, None, stride, 1), None, None, gain, offset, training=True)
        x = F.max_pool2d(F.relu(x), 2) if i in pooled else F.relu(x)
    return F.linear(x.mean((2, 3)), p[18], p[19])


PLAIN = {
    "simple_cnn_v0": plain_v0,
    "simple_cnn_v1": plain_v1,
    "simple_cnn_v2": plain_v2,
    "deep_cnn_v1": plain_deep,
    "deep_cnn_v2": plain_deep,
    "attention_cnn": plain_attention,
    "compact_cnn": plain_compact,
}


def in_training(name: str) -> nn.Module:
    """In double precision, without any dropout."""
    net = make(name, dropout=0.0).double().train()
    for layer in net.modules():
        if isinstance(layer, nn.Dropout2d):
            layer.p = 0.0
    return net


def copied(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone().requires_grad_() for p in net.parameters()]


def test_every_network_of_the_kits_own_is_written_plainly_here():
    assert set(PLAIN) == set(OWN_DROPOUT) == set(CNNS)


@pytest.mark.parametrize("name", PLAIN)
def test_a_network_is_the_plainly_written_one_in_value_and_gradient(name):
    net, x, y = in_training(name), faces(4).double(), torch.arange(4)
    weights = copied(net)
    found, expected = net(x), PLAIN[name](x, weights)
    torch.testing.assert_close(found, expected)
    F.cross_entropy(found, y).backward()
    F.cross_entropy(expected, y).backward()
    for mine, reference in zip(net.parameters(), weights, strict=True):
        torch.testing.assert_close(mine.grad, reference.grad)


# ------------------------------------------------------------------------------------------------ attention


def test_cbam_is_the_papers_for_features_of_both_signs():
    torch.manual_seed(0)
    block, x = CBAM(32).double(), torch.randn(3, 32, 9, 7).double()
    found = block(x)
    expected, where = plain_cbam(x, copied(block))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(block.spatial.map, where)


def test_the_channel_attentions_mlp_is_sixteen_times_narrower_and_the_spatial_kernel_seven_wide():
    shapes = [list(p.shape) for p in CBAM(64).parameters()]
    assert shapes == [[4, 64], [4], [64, 4], [64], [1, 2, 7, 7], [1]]


def test_after_a_forward_pass_it_can_be_read_where_the_network_looked():
    """A map for each block, of weights between 0 and 1, without gradient, and of the last images alone."""
    net = in_training("attention_cnn")
    blocks = [layer for layer in net.modules() if isinstance(layer, SpatialAttention)]
    for x in (faces(4, seed=1).double(), faces(3, seed=2).double()):
        net(x)
    _, expected = plain_attention_with_maps(x, copied(net))
    assert [block.map.shape for block in blocks] == [(3, 1, 24, 24), (3, 1, 12, 12), (3, 1, 6, 6)]
    for block, where in zip(blocks, expected, strict=True):
        torch.testing.assert_close(block.map, where.detach())
        assert 0 < block.map.min() < block.map.max() < 1 and not block.map.requires_grad


def test_the_maps_are_no_part_of_the_weights_that_are_kept():
    assert not [key for key in make("attention_cnn").state_dict() if "map" in key]


# -------------------------------------------------------------------------------- what the docstrings say


@pytest.mark.parametrize("name", OWN_DROPOUT)
def test_without_a_rate_the_network_has_its_own_dropout(name):
    found = [m.p for _, m in models.create(name).named_modules(remove_duplicate=False) if isinstance(m, nn.Dropout)]
    assert found == OWN_DROPOUT[name]


def test_deep_cnn_v2_drops_whole_maps_of_its_first_two_blocks_and_no_others():
    """Of 96 maps in 60 images a tenth; the rate of the last dropout, set from outside, leaves them alone."""
    net, x, shares = models.create("deep_cnn_v2", dropout=0.0), faces(60), []
    for layer in net:
        layer.train(isinstance(layer, nn.Dropout2d))
        x = layer(x)
        if isinstance(layer, nn.Dropout2d):
            assert layer.p == 0.1
            shares.append((x.flatten(2).abs().amax(2) == 0).float().mean().item())
    assert len(shares) == 2 and all(0.05 < share < 0.2 for share in shares)
    positions = [i for i, layer in enumerate(net) if isinstance(layer, nn.Dropout2d)]
    poolings = [i for i, layer in enumerate(net) if isinstance(layer, nn.MaxPool2d)]
    assert poolings[0] < positions[0] < poolings[1] < positions[1] < poolings[2]


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Parameters of a convolution with bias, and of its batch norm."""
    return outputs * (inputs * kernel**2 + 1) + 2 * outputs


def head(inputs: int, hidden: int) -> int:
    """Parameters of a hidden layer with bias and batch norm, and of the last layer."""
    return hidden * (inputs + 1) + 2 * hidden + 7 * (hidden + 1)


def cbam(channels: int) -> int:
    narrow = channels // 16
    return narrow * (channels + 1) + channels * (narrow + 1) + (2 * 49 + 1)


BY_HAND = {
    "deep_cnn_v1": conv(1, 32) + conv(32, 64) + conv(64, 128) + conv(128, 256) + head(256, 512),
    "deep_cnn_v2": conv(1, 32) + conv(32, 64) + conv(64, 128) + conv(128, 192) + head(192, 256),
    "attention_cnn": sum(conv(i, o) + conv(o, o) + cbam(o) for i, o in ((1, 32), (32, 64), (64, 128))) + head(128, 256),
    "simple_cnn_v0": 64 * 10 + 128 * (64 * 24**2 + 1) + 7 * 129,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_number_of_parameters_is_the_one_computed_by_hand(name):
    assert parameters(models.create(name)) == BY_HAND[name]


@pytest.mark.parametrize("name", [name for name in CNNS if models.family(name) == "simple_cnn"])
def test_a_new_simple_network_finds_all_classes_equally_probable(name):
    assert torch.equal(models.create(name).eval()(faces(3)), torch.zeros(3, 7))
