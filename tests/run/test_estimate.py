"""The estimates of a run's members: one that does not fit into memory is told from the others, and leaves nothing."""

import gc
import weakref

import torch
from torch import nn

from src import models
from src.config import Member, Recipe
from src.errors import UserError
from src.run.context import RunRequest
from src.run.estimate import measure_all
from src.run.prepare import prepare
from src.run.ranks import Process
from src.run.record import Code
from src.train.signals import StopSignals
from tests.support.training import linear

ALIVE = weakref.WeakSet()


class Huge(nn.Module):
    """A network that fits for one image, as it is tested before the run, and for no batch."""

    def __init__(self):
        super().__init__()
        self.net = linear()
        ALIVE.add(self)

    def forward(self, x):
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.net(x)


def test_a_member_that_does_not_fit_is_named_and_leaves_nothing_in_memory(monkeypatch, faces, tmp_path):
    for name, make in {"huge": lambda dropout: Huge(), "linear": linear}.items():
        monkeypatch.setitem(models.NETWORKS, name, make)
    recipe = Recipe("r", members=tuple(Member(name, network=name, epochs=2) for name in ("huge", "linear")))
    request = RunRequest(recipe, Code("0" * 16, "abc1234", False), faces, tmp_path / "run", device="cpu")
    context = prepare(request, StopSignals(), Process())
    gc.collect()
    gc.disable()
    try:
        found = measure_all(context)
        assert len(ALIVE) == 0
    finally:
        gc.enable()
        context.log.close()
    assert isinstance(found["huge"], UserError) and "does not fit into memory" in str(found["huge"])
    assert found["linear"].epochs == 2
