"""The made-up GPU finds faults that are slipped into training and prediction, and its gradients are torch's."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src import models
from src.data import augment
from src.train.ema import ModelEMA
from src.train.optimizer import make_optimizer
from src.train.schedule import LRSchedule
from src.train.trainer import Trainer
from tests.support.fake_cuda import CUDA, SECOND, backward, fake_cuda
from tests.support.fake_training import BatchWaits, cuda_job, small_cnn
from tests.support.networks import random_faces
from tests.support.training import make_member

MIXED = "two (different )?devices|on the same device"
DYNAMIC = "DynamicOutputShapeException"
# A fault in a network's forward, on its images x; and what the made-up GPU says.
FAULTS = {
    "x.cpu()": (lambda x: x.cpu(), "_to_copy.* at .*test_fake_cuda_faults.py"),
    "x.numpy()": (lambda x: x.numpy(), "numpy"),
    "np.asarray(x)": (lambda x: np.asarray(x.detach()), "numpy"),
    "x.mean().item()": (lambda x: x.mean().item(), "item at .*test_fake_cuda_faults.py"),
    "float(x.mean())": (lambda x: float(x.mean()), "item"),
    "format(x.mean())": (lambda x: f"{x.mean():.3f}", "item|__format__"),
    "x.mean((1, 2, 3)).tolist()": (lambda x: x.mean((1, 2, 3)).tolist(), "item"),
    "bool((x > 9).any())": (lambda x: bool((x > 9).any()), "item"),
    "torch.equal(x, x)": (lambda x: torch.equal(x, x.clone()), "DataDependentOutputException"),
    "x[x > 0]": (lambda x: x[x > 0], DYNAMIC),
    "x.nonzero()": (lambda x: x.nonzero(), DYNAMIC),
    "torch.unique(x)": (lambda x: torch.unique(x), DYNAMIC),
    "an index on the CPU": (lambda x: x[torch.arange(2)], "index"),
    "a new tensor from a list": (lambda x: torch.tensor([1.0], device=x.device), "_to_copy"),
    "a copy to the GPU": (lambda x: torch.ones(3).to(x.device), "_to_copy"),
    "a copy in place": (lambda x: torch.zeros(x.shape).copy_(x), "copy_"),
    "a mask on the CPU": (lambda x: x * torch.ones(x.shape), MIXED),
    "a weight on the CPU": (lambda x: F.conv2d(x.float(), torch.ones(1, 1, 3, 3)), f"{MIXED}|convolution"),
    "a mask on another GPU": (lambda x: x * torch.ones(x.shape, device=SECOND), MIXED),
    "random numbers on the CPU": (lambda x: x + torch.rand(len(x), 1, 1, 1), MIXED),
    "a generator on the CPU": (lambda x: torch.rand(3, generator=torch.Generator(), device=x.device), "generator"),
    "torch.cuda.synchronize()": (lambda x: torch.cuda.synchronize(), "NVIDIA driver|CUDA"),
}
HARMLESS = {
    "nothing": lambda x: None,
    "a number on the CPU": lambda x: x * torch.tensor(2.0),
    "a new tensor on the GPU": lambda x: x + torch.full((48,), 2.0, device=x.device),
    "work on the CPU": lambda x: torch.arange(9)[torch.arange(9) > 3].sum().item(),
    "a generator of the GPU": lambda x: torch.rand(3, generator=torch.Generator(x.device), device=x.device),
}


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setitem(models.NETWORKS, "small_cnn", small_cnn)


class Faulty(nn.Module):
    """A network with a fault in its forward."""

    def __init__(self, fault, only_in_evaluation: bool = False):
        super().__init__()
        self.net, self.fault, self.only_in_evaluation = small_cnn(), fault, only_in_evaluation

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.only_in_evaluation):
            self.fault(x)
        return self.net(x)


def what_is_found(**settings) -> str:
    """What the made-up GPU says of an epoch and a prediction: an error, or the waits within a batch."""
    try:
        with fake_cuda() as gpu:
            trainer = Trainer(cuda_job(**settings))
            waits = BatchWaits(gpu, trainer)
            trainer.epoch(1, waits)
            return "\n".join(waits.found)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_network_is_found(monkeypatch, name):
    fault, words = FAULTS[name]
    monkeypatch.setitem(models.NETWORKS, "faulty", lambda dropout: Faulty(fault))
    found = what_is_found(network="faulty")
    assert re.search(words, found), found


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_fault_is_not_reported(monkeypatch, name):
    monkeypatch.setitem(models.NETWORKS, "sound", lambda dropout: Faulty(HARMLESS[name]))
    assert what_is_found(network="sound") == ""


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Trainer, "step"), (Trainer, "gradient"), (ModelEMA, "update"), (LRSchedule, "step"), (augment, "normalize")],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_a_wait_is_found_wherever_it_is(monkeypatch, owner, name):
    function = getattr(owner, name)

    def slow(*args):
        torch.ones(3, device=CUDA).sum().item()
        return function(*args)

    monkeypatch.setattr(owner, name, slow)
    assert what_is_found(ema=0.9).startswith("item at ")


def test_a_wait_in_evaluation_alone_is_found(monkeypatch):
    fault, words = FAULTS["x.mean().item()"]
    monkeypatch.setitem(models.NETWORKS, "faulty", lambda dropout: Faulty(fault, only_in_evaluation=True))
    assert re.search(words, what_is_found(network="faulty"))


@pytest.mark.filterwarnings("ignore:Detected call of")  # made-up infinite gradients skip the first step
def test_an_optimizer_that_is_not_fused_waits_for_the_scaler(monkeypatch):
    """GradScaler reads whether a gradient is infinite, unless the optimizer's own kernel does so."""

    def slow_optimizer(member, net):
        return torch.optim.SGD(net.parameters(), member.lr, fused=False)

    monkeypatch.setattr("src.train.trainer.make_optimizer", slow_optimizer)
    assert "item" in what_is_found(precision="fp16") and what_is_found(precision="bf16") == ""


def test_a_moving_average_on_the_cpu_is_found():
    with fake_cuda():
        ema = ModelEMA(small_cnn().to(CUDA), 0.9)
        ema.averaged = [tensor.cpu() for tensor in ema.averaged]
        with pytest.raises(RuntimeError, match=MIXED):
            ema.update()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_moment_on_the_cpu_is_found(optimizer):
    with fake_cuda():
        net = small_cnn().to(CUDA)
        optimizer = make_optimizer(make_member(optimizer=optimizer), net)
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        for moments in optimizer.state.values():
            moments.update({name: tensor.cpu() for name, tensor in moments.items()})
        with pytest.raises(RuntimeError, match=MIXED):
            optimizer.step()


@pytest.mark.parametrize("name", ["compact_cnn", "attention_cnn"])
def test_its_gradients_are_torchs(name):
    torch.manual_seed(1)
    one = models.create(name).eval()  # without dropout
    other, x, labels = copy.deepcopy(one), random_faces(8), torch.arange(8) % 7
    F.cross_entropy(one(x), labels).backward()
    backward(F.cross_entropy(other(x), labels))
    for expected, found in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


def test_tensors_on_the_cpu_are_real_and_torch_is_left_as_it_was():
    before = torch.Generator, torch.load, torch.cuda.device_count()
    with fake_cuda():
        assert torch.arange(4).sum().item() == 6 and torch.zeros(2).to(CUDA).cpu().shape == (2,)
    assert before == (torch.Generator, torch.load, torch.cuda.device_count())
    assert torch.ones(3).sum() == 3 and not torch.cuda.is_initialized()
