"""Optimizers against torch's unfused ones, and learning rates by layers."""

import pytest
import torch
from torch import nn

from src import models
from src.config import Member
from src.train.optimizer import make_optimizer


def member(**settings) -> Member:
    return Member("m", **settings)


def smooth_net() -> nn.Sequential:
    """Without batch norm: a bias before it has no gradient but rounding errors, which Adam enlarges to full steps."""
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


def test_weight_decay_on_weights_spares_norms_biases_and_what_the_network_names():
    for network in ("resnet18", "compact_cnn", "timm:test_vit"):
        net = models.create(network, image_size=48)
        settings = member(network=network, optimizer="adamw", lr=0.1, weight_decay=0.05, weight_decay_on="weights")
        of_norms = {p for layer in net.modules() if "Norm" in type(layer).__name__ for p in layer.parameters()}
        optimizer = make_optimizer(settings, net)
        decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert decays.keys() == set(net.parameters()) and {group["lr"] for group in optimizer.param_groups} == {0.1}
        for name, p in net.named_parameters():
            spared = p in of_norms or name.endswith(("bias", "pos_embed", "cls_token"))
            assert decays[p] == (0 if spared else 0.05), name


# --- rates by layers ------------------------------------------------------------------------------------------------


def decayed(network: str, image_size: int | None = None, **settings) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1)
    net = models.create(network, image_size=image_size)
    common = {"optimizer": "adamw", "lr": 0.1, "weight_decay": 0.05, "layer_decay": 0.5}
    return net, make_optimizer(member(network=network, image_size=image_size, **(common | settings)), net)


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


@pytest.mark.parametrize("image_size", [None, 48])
def test_each_layer_of_a_vit_learns_at_half_the_rate_of_the_next(image_size):
    net, optimizer = decayed("timm:test_vit", image_size)
    blocks = len(models.body_of(net).blocks)
    for name, (lr, _) in by_name(net, optimizer).items():
        below = blocks + 1 - depth_in_a_vit(name, blocks)
        assert lr == pytest.approx(0.1 * 0.5**below), name


def test_norms_biases_and_position_embeddings_have_no_weight_decay():
    net, optimizer = decayed("timm:test_vit", 48)
    shapes = {name: p.ndim for name, p in models.body_of(net).named_parameters()}
    for name, (_, decay) in by_name(net, optimizer).items():
        no_decay = shapes[name] == 1 or name in ("pos_embed", "cls_token")
        assert decay == (0 if no_decay else 0.05), name


@pytest.mark.parametrize("network", ["resnet18", "mobilevit_xxs", "timm:test_resnet", "timm:mobilenetv3_small_050"])
def test_learning_rates_rise_from_the_first_layer_to_the_last(network):
    net, optimizer = decayed(network)
    rates = [lr for lr, _ in by_name(net, optimizer).values()]
    order = by_name(net, optimizer)
    body, head = models.body_of(net), models.head_of(net)
    names = [name for name, p in body.named_parameters() if not any(p is q for q in head.parameters())]
    of_head = {order[name][0] for name in order if name not in names}
    assert of_head == {0.1} and max(rates) == 0.1
    weights = [name for name in names if "shortcut" not in name and "downsample" not in name]
    assert order[weights[0]][0] == min(rates) < order[weights[-1]][0]


@pytest.mark.parametrize("name", REFERENCES)
def test_every_optimizer_takes_rates_by_layers(name):
    net, optimizer = decayed("timm:test_vit", 48, optimizer=name)
    assert type(optimizer) is REFERENCES[name][0] and len({lr for lr, _ in by_name(net, optimizer).values()}) > 3
