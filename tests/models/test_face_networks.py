"""The networks for 48x48 faces against references written after the papers, in double precision."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from src import models
from tests.support.networks import make, random_faces

VGG = ("face_vgg_m", "face_vgg_l")
RESNET = {  # the stem's strides; whether each block halves the maps
    "face_resnet_s": ((2,), (0, 1, 0, 1, 0)),
    "face_resnet_l": ((1, 1, 1), (0, 0, 1, 0, 1, 0, 1, 0)),
}


def normed_conv(x: Tensor, p, stride: int = 1) -> Tensor:
    """The next convolution of the parameters p, with a padding that keeps or halves the map, and its batch norm."""
    weight, gain, offset = next(p), next(p), next(p)
    x = F.conv2d(x, weight, None, stride, (weight.shape[-1] - 1) // 2)
    return F.batch_norm(x, None, None, gain, offset, training=True)


def reference_vgg(x: Tensor, p) -> Tensor:
    for number in range(8):
        x = F.relu(normed_conv(x, p))
        x = F.max_pool2d(x, 2) if number in (1, 3, 5) else x
    return F.linear(x.mean((2, 3)), next(p), next(p))


def reference_excitation(x: Tensor, p) -> Tensor:
    """Equations 2 to 4 of Hu et al. 2018."""
    squeezed, n, channels = x.sum((2, 3)) / x[0, 0].numel(), *x.shape[:2]
    hidden = F.relu(F.linear(squeezed, next(p).flatten(1), next(p)))
    return x * torch.sigmoid(F.linear(hidden, next(p).flatten(1), next(p))).view(n, channels, 1, 1)


def reference_resnet(name: str, x: Tensor, p) -> Tensor:
    stem, halving = RESNET[name]
    for stride in stem:
        x = F.relu(normed_conv(x, p, stride))
    for number, halves in enumerate(halving):
        branch = normed_conv(F.relu(normed_conv(x, p, 1 + halves)), p)
        branch = reference_excitation(branch, p)
        widens = halves or (number == 0 and x.shape[1] != branch.shape[1])
        if halves:  # an odd side: the last pixels count twice
            x = F.avg_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate"), 2)
        x = F.relu(branch + (normed_conv(x, p) if widens else x))
    return F.linear(x.mean((2, 3)), next(p), next(p))


@pytest.mark.parametrize(
    ("name", "side"), [*((name, 48) for name in (*VGG, *RESNET)), *((name, 36) for name in RESNET)]
)
def test_a_network_is_its_reference_in_value_and_gradient(name, side):
    net, x, y = make(name, dropout=0.0).double().train(), random_faces(2).double(), torch.arange(2)
    x = x[:, :, :side, :side]
    weights = [p.detach().clone().requires_grad_() for p in net.parameters()]
    reference = reference_vgg if name in VGG else partial(reference_resnet, name)
    rest = iter(weights)
    found, expected = net(x), reference(x, rest)
    assert next(rest, None) is None
    torch.testing.assert_close(found, expected)
    F.cross_entropy(found, y).backward()
    F.cross_entropy(expected, y).backward()
    for mine, theirs in zip(net.parameters(), weights, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize(("name", "dropout"), [*((name, 0.3) for name in VGG), *((name, 0.2) for name in RESNET)])
def test_the_default_dropout(name, dropout):
    assert [layer.p for layer in models.create(name).modules() if isinstance(layer, nn.Dropout)] == [dropout]


@pytest.mark.parametrize("name", RESNET)
def test_stochastic_depth_rises_from_block_to_block_and_acts_in_training_alone(name):
    net = models.NETWORKS[name](dropout=0.0, drop_path=0.5)
    rates = [layer.p for layer in net.modules() if isinstance(layer, StochasticDepth)]
    assert rates == pytest.approx(torch.linspace(0, 0.5, len(RESNET[name][1])).tolist())
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):  # no branch is 0, and no result depends on the other images
            nn.init.ones_(layer.weight), layer.eval()
        layer.training = isinstance(layer, StochasticDepth | nn.Sequential)
    x = random_faces(1).expand(8, -1, -1, -1)
    with torch.no_grad():
        assert len(net(x).round(decimals=3).unique(dim=0)) > 1
        assert len(net.eval()(x).round(decimals=3).unique(dim=0)) == 1
