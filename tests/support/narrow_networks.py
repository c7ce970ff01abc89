"""Narrow networks for tests of whole runs: most of the time of a small run is spent in convolutions."""

import pytest

from src.models import compact_cnn, registry, simple_cnn


@pytest.fixture(scope="module")
def narrow_networks():
    """In a file's tests the networks of `quick` have the layers of the real ones and a few channels each."""

    def simple_cnn_v2(dropout: float | None = None):
        return simple_cnn.simple_cnn((4, 4), 5, norm=True, dropout=0.4 if dropout is None else dropout)

    simple_cnn_v2.__module__ = simple_cnn.__name__  # the family is called after it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact_cnn, "WIDTHS", (4, 4, 8, 8))
        patch.setitem(registry.NETWORKS, "simple_cnn_v2", simple_cnn_v2)
        yield
