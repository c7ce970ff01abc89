"""What the tests of training share: two small networks, jobs on the CPU, and comparisons."""

import copy
from itertools import chain

import torch
from torch import nn

from src.config import Member
from src.data.batches import LabelledImages
from src.train.fit import Callback
from src.train.precision import Precision
from src.train.trainer import TrainJob

CPU = torch.device("cpu")
FLOAT32, BF16 = (Precision(name, "", CPU) for name in ("float32", "bf16"))


def tiny(dropout: float | None = None) -> nn.Sequential:
    """A convolution, a batch norm and a linear layer."""
    layers = nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout or 0.0)
    return nn.Sequential(*layers, nn.Linear(4 * 15**2, 7))


def linear(dropout: float | None = None) -> nn.Sequential:
    """One linear layer over 36 averages."""
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(36, 7))


def make_member(**settings) -> Member:
    return Member(**({"name": "m", "network": "tiny", "epochs": 3, "batch_size": 16} | settings))


def make_job(train: LabelledImages, valid: LabelledImages | None = None, seed: int = 1, **settings) -> TrainJob:
    """A job in float32. precision, initial_weights and targets may be among the settings."""
    fields = {key: settings.pop(key) for key in ("precision", "initial_weights", "targets") if key in settings}
    return TrainJob(make_member(**settings), train, valid or train, **({"precision": FLOAT32, "seed": seed} | fields))


class Silent(Callback):
    """Keeps what is logged."""

    def __init__(self):
        self.lines = []

    def log(self, line: str) -> None:
        self.lines.append(line)


def weights(net: nn.Module) -> dict:
    """A copy of the network's state."""
    return copy.deepcopy(net.state_dict())


def tensors(state) -> list[torch.Tensor]:
    """Every tensor in nested dicts and lists, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return list(chain.from_iterable(tensors(value) for value in inner))


def equal(one: dict, other: dict) -> bool:
    """Whether all tensors are bitwise the same."""
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def without_seconds(history: list[dict]) -> list[dict]:
    """The history without what a clock measured."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in history]
