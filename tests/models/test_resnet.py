"""The ResNets against torchvision's own, of three channels, with equal weights."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from src import models
from src.models.state_dict import load_weights
from tests.support.networks import random_faces, seasoned


def theirs(layers: int) -> nn.Module:
    """torchvision's, in evaluation, with statistics of batch norm that are not those of a new one."""
    torch.manual_seed(layers)
    net = getattr(torchvision.models, f"resnet{layers}")(num_classes=7)
    with torch.no_grad():
        net.train()(random_faces(3, seed=4).expand(-1, 3, -1, -1))
    return net.eval()


def ours(name: str, reference: nn.Module, tmp_path) -> nn.Module:
    """The kit's, started from the reference's weights as from any file; and with its last layer."""
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    net = seasoned(models.create(name))
    load_weights(net, tmp_path / "weights.pth")
    models.head_of(net).load_state_dict(reference.fc.state_dict())
    return net


@pytest.mark.parametrize("layers", [18, 34, 50])
@torch.no_grad()
def test_a_resnet_answers_a_gray_image_as_torchvisions_answers_it_three_times(layers, tmp_path):
    reference, x = theirs(layers), random_faces(2)
    net = ours(f"resnet{layers}", reference, tmp_path)
    torch.testing.assert_close(net.conv1.weight, reference.conv1.weight.sum(1, keepdim=True))
    torch.testing.assert_close(net(x), reference(x.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def with_small_stem(net: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """torchvision's forward pass with a 3x3 convolution of stride 1 for the 7x7, and no pooling after it."""
    x = F.relu(net.bn1(F.conv2d(x, weight, padding=1)))
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = layer(x)
    assert x.shape[-2:] == (6, 6)
    return net.fc(x.mean((2, 3)))


@pytest.mark.parametrize("layers", [18, 34])
@torch.no_grad()
def test_a_resnet_for_small_images_is_torchvisions_behind_another_stem(layers, tmp_path):
    reference, x = theirs(layers), random_faces(1)
    net = ours(f"resnet{layers}_48", reference, tmp_path)
    torch.testing.assert_close(net(x), with_small_stem(reference, net.conv1.weight, x), rtol=1e-3, atol=1e-4)


def test_the_stem_for_small_images_keeps_its_initial_weights_when_the_rest_is_loaded(tmp_path):
    torch.save(theirs(18).state_dict(), tmp_path / "weights.pth")
    net = models.create("resnet18_48")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    load_weights(net, tmp_path / "weights.pth")
    kept = {key for key, value in net.state_dict().items() if torch.equal(value, before[key])}
    assert {"conv1.weight", "fc.1.weight", "fc.1.bias"} <= kept
    assert not {key for key in kept if key.endswith("conv1.weight")} - {"conv1.weight"}


@pytest.mark.parametrize("name", ["resnet18", "resnet18_48"])
def test_the_stem_starts_as_torchvisions_and_the_head_has_the_dropout(name):
    torch.manual_seed(0)
    net = models.create(name, dropout=0.3)
    expected = (2 / (64 * net.conv1.kernel_size[0] ** 2)) ** 0.5  # He et al. 2015, by the outputs
    assert net.conv1.weight.std().item() == pytest.approx(expected, rel=0.1) and net.conv1.bias is None
    assert [type(layer) for layer in net.fc] == [nn.Dropout, nn.Linear] and net.fc[0].p == 0.3
