"""Optimizers, with one learning rate or one for each layer."""

import torch
from torch import nn

from src.config import Member
from src.models import body_of


def make_optimizer(member: Member, net: nn.Module) -> torch.optim.Optimizer:
    """The member's optimizer over all weights; fused into one kernel where the device supports it."""
    fused = next(net.parameters()).device.type in ("cpu", "cuda")
    common = {"lr": member.lr, "weight_decay": member.weight_decay, "fused": fused}
    weights = layer_groups(member, net) if member.layer_decay < 1 else net.parameters()
    if member.optimizer == "sgd":
        return torch.optim.SGD(weights, momentum=member.momentum, nesterov=member.momentum > 0, **common)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[member.optimizer](weights, **common)


def layer_groups(member: Member, net: nn.Module) -> list[dict]:
    """Parameter groups by layer; a layer's learning rate is `layer_decay` times that of the next layer.

    Norms, biases and what the network names (position embeddings) get no weight decay (Bao et al. 2022).
    """
    from timm.optim import param_groups_layer_decay  # here, not above: importing timm takes seconds

    body = body_of(net)
    no_decay = body.no_weight_decay() if hasattr(body, "no_weight_decay") else ()
    groups = param_groups_layer_decay(body, member.weight_decay, no_decay, layer_decay=member.layer_decay)
    return [group | {"lr": member.lr * group["lr_scale"]} for group in groups]
