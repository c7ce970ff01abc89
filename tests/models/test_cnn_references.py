"""The CNNs against reference implementations, written after the notebooks' descriptions and Woo et al. 2018.

A reference is a function of torch over the parameters in their order, in double precision, with batch norm in training.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src import models
from src.models.attention_cnn import CBAM
from tests.support.networks import make, random_faces


def conv_norm(x: Tensor, p: list, padding: int = 1) -> Tensor:
    """Convolution with bias, then batch norm."""
    weight, bias, gain, offset = p
    return F.batch_norm(F.conv2d(x, weight, bias, padding=padding), None, None, gain, offset, training=True)


def normed_head(x: Tensor, p: list) -> Tensor:
    """Global average pooling, a hidden layer with batch norm and ReLU, the logits."""
    x = F.batch_norm(F.linear(x.mean((2, 3)), p[0], p[1]), None, None, p[2], p[3], training=True)
    return F.linear(F.relu(x), p[4], p[5])


def reference_v0(x: Tensor, p: list) -> Tensor:
    x = F.max_pool2d(F.relu(F.conv2d(x, p[0], p[1], padding=1)), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[2], p[3])), p[4], p[5])


def reference_v1(x: Tensor, p: list) -> Tensor:
    for weight, bias in (p[0:2], p[2:4]):
        x = F.max_pool2d(F.relu(F.conv2d(x, weight, bias, padding=2)), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[4], p[5])), p[6], p[7])


def reference_v2(x: Tensor, p: list) -> Tensor:
    for block in (p[0:4], p[4:8]):
        x = F.max_pool2d(F.relu(conv_norm(x, block, padding=2)), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[8], p[9])), p[10], p[11])


def reference_deep(x: Tensor, p: list) -> Tensor:
    for i in range(4):
        x = F.max_pool2d(F.relu(conv_norm(x, p[4 * i : 4 * i + 4])), 2)
    return normed_head(x, p[16:])


def reference_cbam(x: Tensor, p: list) -> Tensor:
    """Equations 1 to 3 of Woo et al.: what (channels), then where (positions)."""

    def shared_mlp(pooled: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(pooled.flatten(1), p[0], p[1])), p[2], p[3])

    n, c = x.shape[:2]
    what = torch.sigmoid(shared_mlp(F.adaptive_avg_pool2d(x, 1)) + shared_mlp(F.adaptive_max_pool2d(x, 1)))
    x = what.view(n, c, 1, 1) * x
    mean, largest = x.sum(1, keepdim=True) / c, x.max(1, keepdim=True).values
    where = torch.sigmoid(F.conv2d(torch.cat([mean, largest], 1), p[4], p[5], padding=3))
    return where * x


def reference_attention(x: Tensor, p: list) -> Tensor:
    for i in range(3):
        block = p[14 * i : 14 * i + 14]
        for conv in (block[0:4], block[4:8]):
            x = F.relu(conv_norm(x, conv))
        x = reference_cbam(F.max_pool2d(x, 2), block[8:])
    return normed_head(x, p[42:])


def reference_compact(x: Tensor, p: list) -> Tensor:
    strides, pooled = (2, 1, 1, 1, 1, 1), (1, 3)  # a pooling after the second and the fourth
    for i, stride in enumerate(strides):
        weight, gain, offset = p[3 * i : 3 * i + 3]
        x = F.batch_norm(F.conv2d(x, weight, None, stride, 1), None, None, gain, offset, training=True)
        x = F.max_pool2d(F.relu(x), 2) if i in pooled else F.relu(x)
    return F.linear(x.mean((2, 3)), p[18], p[19])


REFERENCES = {
    "simple_cnn_v0": reference_v0,
    "simple_cnn_v1": reference_v1,
    "simple_cnn_v2": reference_v2,
    "deep_cnn_v1": reference_deep,
    "deep_cnn_v2": reference_deep,
    "attention_cnn": reference_attention,
    "compact_cnn": reference_compact,
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


@pytest.mark.parametrize("name", REFERENCES)
def test_a_network_is_its_reference_in_value_and_gradient(name):
    net, x, y = in_training(name), random_faces(4).double(), torch.arange(4)
    weights = copied(net)
    found, expected = net(x), REFERENCES[name](x, weights)
    torch.testing.assert_close(found, expected)
    F.cross_entropy(found, y).backward()
    F.cross_entropy(expected, y).backward()
    for mine, reference in zip(net.parameters(), weights, strict=True):
        torch.testing.assert_close(mine.grad, reference.grad)


def test_cbam_is_the_papers_for_features_of_both_signs():
    torch.manual_seed(0)
    block, x = CBAM(32).double(), torch.randn(3, 32, 9, 7).double()
    torch.testing.assert_close(block(x), reference_cbam(x, copied(block)))


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("simple_cnn_v0", []),
        ("simple_cnn_v1", [0.3, 0.3]),
        ("simple_cnn_v2", [0.4, 0.4]),
        ("deep_cnn_v1", [0.5]),
        ("deep_cnn_v2", [0.7]),
        ("attention_cnn", [0.5]),
        ("compact_cnn", [0.2]),
    ],
)
def test_the_default_dropout_is_the_notebooks(name, rates):
    assert [layer.p for layer in models.create(name).modules() if isinstance(layer, nn.Dropout)] == rates


def test_deep_cnn_v2_drops_whole_maps_after_its_first_two_blocks_only():
    net = models.create("deep_cnn_v2", dropout=0.0)
    kinds = [type(layer) for layer in net if isinstance(layer, nn.Dropout2d | nn.MaxPool2d)]
    assert kinds == [nn.MaxPool2d, nn.Dropout2d] * 2 + [nn.MaxPool2d] * 2
    assert all(layer.p == 0.1 for layer in net if isinstance(layer, nn.Dropout2d))


@pytest.mark.parametrize("name", [name for name in REFERENCES if name.startswith("simple")])
def test_a_new_simple_network_finds_all_classes_equally_probable(name):
    assert torch.equal(models.create(name).eval()(random_faces(3)), torch.zeros(3, 7))
