"""Grad-CAM lights what a network of a known answer reads, and is the class activation map where both are defined."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src import models
from src.report.grad_cam import grad_cam
from tests.support.networks import random_faces

ROWS, COLUMNS = (slice(0, 24), slice(24, 48)), (slice(0, 24), slice(24, 48))


class Reader(nn.Module):
    """A network that sees one quadrant of the image: class 1 is brightness there."""

    def __init__(self, row: int, column: int):
        super().__init__()
        self.row, self.column = ROWS[row], COLUMNS[column]
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(4))
        self.head = nn.Linear(2, 7, bias=False)
        nn.init.constant_(self.body[0].weight, 0.1)
        nn.init.zeros_(self.head.weight)
        nn.init.ones_(self.head.weight[1])

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.zeros_like(x)
        seen[:, :, self.row, self.column] = x[:, :, self.row, self.column]
        return self.head(self.body(seen).mean((2, 3)))


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("column", [0, 1])
def test_a_network_that_reads_one_quadrant_lights_that_quadrant(row, column):
    maps = grad_cam(Reader(row, column), random_faces(4).abs())
    inside = maps[:, ROWS[row], COLUMNS[column]].sum((1, 2))
    assert maps.shape == (4, 48, 48) and (inside / maps.sum((1, 2)) > 0.95).all()


def test_what_speaks_against_a_class_is_not_lit():
    net = Reader(0, 0)
    nn.init.constant_(net.head.weight[2], -1.0)
    assert grad_cam(net, random_faces(2).abs(), torch.tensor([2, 2])).eq(0).all()


def test_with_average_pooling_and_one_linear_layer_it_is_the_class_activation_map():
    """Zhou et al. 2016: the maps weighted by the class's row of the linear layer; here divided by the positions."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 5, 3, 4), nn.BatchNorm2d(5), nn.ReLU())
    net, x = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7)).eval(), random_faces(3)
    classes = torch.tensor([6, 0, 3])
    maps = features(x).detach()
    weighted = torch.einsum("nkhw,nk->nhw", maps, net[3].weight[classes]).relu() / maps[0, 0].numel()
    expected = F.interpolate(weighted[:, None], size=(48, 48), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(grad_cam(net, x, classes), expected, atol=1e-7)


def test_pooling_before_an_activation_leaves_the_finer_map():
    """max(relu(x)) is relu(max(x)): both networks are one function, and have one map."""
    torch.manual_seed(1)
    first, last = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6 * 144, 7)
    rest = nn.Flatten(), last
    one = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(4), *rest)
    other = nn.Sequential(first, nn.MaxPool2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), *rest)
    x, classes = random_faces(3), torch.tensor([1, 2, 3])
    assert torch.allclose(grad_cam(one, x, classes), grad_cam(other, x, classes), atol=1e-7)


class ChannelsLast(nn.Module):
    """Maps as some transformers keep them: (n, h, w, c)."""

    def __init__(self):
        super().__init__()
        self.body, self.last = nn.Conv2d(1, 5, 4, 4), nn.LayerNorm(5)
        self.head = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.body(x).permute(0, 2, 3, 1)).mean((1, 2)))


def test_maps_with_channels_last_are_read_as_such():
    torch.manual_seed(2)
    net, x = ChannelsLast(), random_faces(2)
    maps = net.last(net.body(x).permute(0, 2, 3, 1)).detach()
    weighted = (maps * net.head.weight[4]).sum(-1).relu() / 144
    expected = F.interpolate(weighted[:, None], size=(48, 48), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(grad_cam(net, x, torch.tensor([4, 4])), expected, atol=1e-6)


def test_a_block_counts_as_what_it_returns():
    """Of ResNet-50 the last maps have 2 pixels a side; inside the block that makes them its first layer has 3."""
    torch.manual_seed(0)
    net, x = models.create("resnet50").eval(), random_faces(2)
    features = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3)(x).detach()
    features.requires_grad_()
    logits = net.fc(net.layer4(features).mean((2, 3)))
    (gradient,) = torch.autograd.grad(logits[:, 5].sum(), features)
    weighted = (features * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()
    expected = F.interpolate(weighted, size=(48, 48), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(grad_cam(net, x, torch.tensor([5, 5])), expected, rtol=1e-4, atol=1e-8) and expected.any()


def test_a_network_without_maps_is_refused():
    with pytest.raises(ValueError, match="no map"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7)), random_faces(1))


def test_weights_gradients_modes_and_generators_stay_as_they_were():
    torch.manual_seed(0)
    net = models.create("attention_cnn").train()
    net[0].eval()
    net.requires_grad_(False)
    before, modes, generator = (
        copy.deepcopy(net.state_dict()),
        [m.training for m in net.modules()],
        torch.get_rng_state(),
    )
    with torch.no_grad():
        grad_cam(net, random_faces(2))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes and torch.equal(torch.get_rng_state(), generator)
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
