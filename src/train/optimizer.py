"""Optimizers, with one learning rate or one for each layer, and weight decay on all parameters or on weights alone."""

from collections.abc import Iterable

import torch
from torch import nn

from src.config import Member
from src.models import body_of


def make_optimizer(member: Member, net: nn.Module) -> torch.optim.Optimizer:
    """The member's optimizer over all weights; fused into one kernel where the device supports it."""
    fused = next(net.parameters()).device.type in ("cpu", "cuda")
    common = {"lr": member.lr, "weight_decay": member.weight_decay, "fused": fused}
    weights = parameter_groups(member, net)
    if member.optimizer == "sgd":
        return torch.optim.SGD(weights, momentum=member.momentum, nesterov=member.momentum > 0, **common)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[member.optimizer](weights, **common)


def parameter_groups(member: Member, net: nn.Module) -> Iterable[nn.Parameter] | list[dict]:
    """The network's parameters, in groups where the member's settings treat them differently."""
    if member.layer_decay < 1:
        return layer_groups(member, net)
    return decay_groups(net) if member.weight_decay_on == "weights" else net.parameters()


def decay_groups(net: nn.Module) -> list[dict]:
    """Weights, and in a second group without weight decay norms, biases and what the network names.

    A decay of norms and biases regularizes nothing (He et al. 2019, "Bag of tricks").
    """
    body = body_of(net)
    named = body.no_weight_decay() if hasattr(body, "no_weight_decay") else ()
    parameters = dict(body.named_parameters())
    weights = [p for name, p in parameters.items() if p.ndim > 1 and name not in named]
    others = [p for name, p in parameters.items() if p.ndim <= 1 or name in named]
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]


def layer_groups(member: Member, net: nn.Module) -> list[dict]:
    """Parameter groups by layer; a layer's learning rate is `layer_decay` times that of the next layer.

    timm's networks name their layers. torchvision's ResNets name none: timm takes twelve parameter tensors as one.
    Norms, biases and what the network names (position embeddings) get no weight decay (Bao et al. 2022).
    """
    from timm.optim import param_groups_layer_decay  # here, not above: importing timm takes seconds

    body = body_of(net)
    no_decay = body.no_weight_decay() if hasattr(body, "no_weight_decay") else ()
    groups = param_groups_layer_decay(body, member.weight_decay, no_decay, layer_decay=member.layer_decay)
    return [group | {"lr": member.lr * group["lr_scale"]} for group in groups]
