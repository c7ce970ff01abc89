"""Every registered network takes images and returns logits, trains all its weights, and can be saved and loaded.

Each network is made once. The tests of one family are in the other files of this folder.
"""

import copy
import importlib
import re
from dataclasses import dataclass

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src import models
from src.errors import UserError
from src.models import registry
from src.report.attention import GRAD_CAM, maps_of
from src.report.grad_cam import grad_cam
from tests.support.networks import make, parameters, random_faces


@dataclass
class Case:
    """A network in evaluation, images, and its logits. A test that changes the network copies it."""

    name: str
    net: nn.Module
    x: Tensor
    logits: Tensor

    def is_near(self, found: Tensor, share: float) -> bool:
        """Whether logits are the network's, within a share of the largest."""
        return (found - self.logits[: len(found)]).abs().max() <= share * self.logits.abs().max()


@pytest.fixture(scope="module", params=list(models.NETWORKS))
def case(request) -> Case:
    net, x = make(request.param), random_faces(3)
    with torch.no_grad():
        return Case(request.param, net, x, net(x))


@torch.no_grad()
def test_images_give_finite_logits_that_differ_repeat_and_leave_everything_unchanged(case):
    state = {key: value.clone() for key, value in case.net.state_dict().items()}
    assert case.logits.shape == (3, 7) and case.logits.dtype == torch.float32 and case.logits.isfinite().all()
    assert len(case.logits.unique(dim=0)) == 3
    assert torch.equal(case.net(case.x), case.logits) and torch.equal(case.x, random_faces(3))
    assert all(torch.equal(value, state[key]) for key, value in case.net.state_dict().items())


@torch.no_grad()
def test_an_image_alone_channels_last_and_bf16_give_nearly_the_same_logits(case):
    assert case.is_near(case.net(case.x[:1]), 1e-4)
    net = copy.deepcopy(case.net).to(memory_format=torch.channels_last)
    assert case.is_near(net(case.x.contiguous(memory_format=torch.channels_last)), 1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = case.net(case.x[:1])
    assert logits.dtype == torch.bfloat16 and case.is_near(logits.float(), 0.15)


def loss_of(net: nn.Module) -> Tensor:
    """A training loss with fixed dropout masks."""
    torch.manual_seed(3)
    return F.cross_entropy(net(random_faces(4, seed=1)), torch.arange(4))


def test_every_parameter_gets_a_gradient_and_a_small_step_lowers_the_loss(case):
    """Units can be dead for some initial weights, so a weight without a gradient gets three more chances."""
    net = copy.deepcopy(case.net).train()
    before = loss_of(net)
    before.backward()
    without = {key for key, p in net.named_parameters() if p.ndim > 1 and not p.grad.any()}
    assert all(p.grad.isfinite().all() for p in net.parameters())
    with torch.no_grad():
        slope = sum(p.grad.square().sum() for p in net.parameters())
        for p in net.parameters():
            p -= 1e-3 * before / slope * p.grad  # lowers a linear loss by a thousandth
        assert loss_of(net) < before
    for seed in (1, 2, 3) if without else ():
        net = make(case.name, seed).train()
        loss_of(net).backward()
        without -= {key for key, p in net.named_parameters() if p.grad.any()}
    assert not without


@torch.no_grad()
def test_a_seed_repeats_the_initial_weights_and_loaded_weights_repeat_the_logits(case):
    torch.manual_seed(0)
    first = {key: value.clone() for key, value in models.create(case.name).named_parameters()}
    torch.manual_seed(0)
    other = models.create(case.name).eval()
    assert all(torch.equal(value, first[key]) for key, value in other.named_parameters())
    trained = copy.deepcopy(case.net).to(memory_format=torch.channels_last)
    content = safetensors.torch.save({key: value.contiguous() for key, value in trained.state_dict().items()})
    other.load_state_dict(safetensors.torch.load(content))
    assert torch.equal(other(case.x), case.logits)


def head_input(net: nn.Module, x: Tensor, dropping: bool) -> Tensor:
    """The input of the last layer, where only dropout layers are in training mode, if `dropping`."""
    seen = []
    for layer in net.modules():
        layer.training = dropping and isinstance(layer, nn.Dropout)
    hook = models.head_of(net).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        net(x)
    hook.remove()
    return seen[0]


def test_the_dropout_rate_is_that_before_the_last_layer(case):
    net, x = models.create(case.name, dropout=0.95), case.x[:2]
    assert (head_input(net, x, True) == 0).float().mean() > 0.9 > 0.85 > (head_input(net, x, False) == 0).float().mean()
    net = models.create(case.name, dropout=0.0)
    assert torch.equal(head_input(net, x, True), head_input(net, x, False))


def test_the_last_layer_gives_the_logits(case):
    head = models.head_of(case.net)
    assert head.out_features == 7
    with torch.no_grad():
        assert case.is_near(head(head_input(copy.deepcopy(case.net), case.x, False)), 1e-6)


def test_the_numbers_of_parameters_in_a_familys_docstring_are_right(case):
    text = importlib.import_module(registry.find(case.name).__module__).__doc__
    family = [name for name in list(models.NETWORKS) if models.family(name) == models.family(case.name)]
    with torch.device("meta"):
        counts = {f"{parameters(models.create(name)):,}" for name in family}
    assert set(re.findall(r"(?:\d{1,3},)?\d{3},\d{3}", text)) <= counts


# ------------------------------------------------------------------------------------------- the registry


@pytest.mark.parametrize("name", list(models.NETWORKS))
def test_a_typo_names_the_nearest_network_and_all_others(name):
    with pytest.raises(UserError, match=rf"network={name}_: no such network; did you mean {name}\?") as error:
        models.create(f"{name}_")
    assert all(known in str(error.value) for known in [*list(models.NETWORKS), "timm:<name>"])


def test_a_name_that_is_like_none_is_refused_without_a_guess():
    with pytest.raises(UserError, match="network=zzz: no such network; there are"):
        models.create("zzz")


def test_a_registered_function_is_a_network_of_its_name_and_image_size(monkeypatch):
    monkeypatch.setattr(registry, "NETWORKS", dict(registry.NETWORKS))
    monkeypatch.setattr(registry, "IMAGE_SIZES", dict(registry.IMAGE_SIZES))

    @registry.register(image_size=60)
    def averages(dropout=None, image_size=60):
        return nn.Sequential(nn.AvgPool2d(image_size), nn.Flatten(), nn.Linear(1, 7))

    assert models.native_image_size("averages") == 60
    assert models.create("averages")(random_faces(2)).shape == (2, 7)
    with pytest.raises(ValueError, match="two networks are called averages"):
        registry.register()(averages)


def test_it_shows_where_it_looks_and_stays_as_it_is(case):
    images = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    state = {key: value.clone() for key, value in case.net.state_dict().items()}
    maps = maps_of(case.net, images)
    assert maps and all(found.shape == (2, 48, 48) and np.isfinite(found).all() for found in maps.values())
    assert all(found.std((1, 2)).all() for kind, found in maps.items() if kind != GRAD_CAM)
    if GRAD_CAM in maps:  # nothing may speak for a class of a network with random weights
        assert any(grad_cam(case.net, case.x, torch.full((3,), label)).std((1, 2)).any() for label in range(7))
    assert all(torch.equal(value, state[key]) for key, value in case.net.state_dict().items())
