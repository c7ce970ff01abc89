"""What the tests of networks share: random faces, and networks that have seen some."""

import torch
from torch import nn

from src import models


def random_faces(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, 48, 48, generator=torch.Generator().manual_seed(seed))


def seasoned(net: nn.Module) -> nn.Module:
    """The network after a batch, in evaluation: so its batch norms' statistics are not those of a new one.

    A last layer of zeros, or a branch that ends with a norm of zeros, would hide all layers before it; some begin
    so, and get other weights.
    """
    for layer in (models.head_of(net), *(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))):
        if not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.1)
    with torch.no_grad():
        net.train()(2 * random_faces(3, seed=100) + 0.5)
    return net.eval()


def make(name: str, seed: int = 0, dropout: float | None = None, **settings) -> nn.Module:
    """A seasoned network of the registry."""
    torch.manual_seed(seed)
    return seasoned(models.create(name, dropout, **settings))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
