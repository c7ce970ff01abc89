"""Faces on the CPU, and small networks in the registry."""

import pytest

from src import models
from src.data import synthetic
from src.data.batches import LabelledImages, on_device
from tests.support.training import CPU, linear, tiny


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    for function in (tiny, linear):
        monkeypatch.setitem(models.NETWORKS, function.__name__, function)


@pytest.fixture(scope="session")
def rows() -> LabelledImages:
    """70 faces to train on."""
    return on_device(*synthetic.make_faces(70, seed=11), CPU)


@pytest.fixture(scope="session")
def held_out() -> LabelledImages:
    """40 faces to validate on."""
    return on_device(*synthetic.make_faces(40, seed=12), CPU)
