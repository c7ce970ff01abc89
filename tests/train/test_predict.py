"""Probabilities against the softmax, for any batch size, view, precision and mode of the network."""

import pytest
import torch
from torch import nn

from src.data.augment import preprocess
from src.train.predict import probabilities
from src.train.tta import TTA_VIEWS
from tests.support.training import BF16, FLOAT32, equal, tiny, weights


@pytest.fixture
def net() -> nn.Module:
    """A network that is not symmetric, has statistics, and is in training mode."""
    torch.manual_seed(3)
    net = tiny(dropout=0.5)
    net(torch.randn(16, 1, 48, 48))
    return net.train()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (23, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("precision", [FLOAT32, BF16], ids=lambda p: p.name)
@pytest.mark.parametrize("tta", TTA_VIEWS)
def test_each_row_holds_probabilities_in_float32(net, images, tta, precision):
    probs = probabilities(net, images, tta, precision)
    assert probs.shape == (23, 7) and probs.dtype == torch.float32 and not probs.requires_grad
    assert (probs > 0).all() and torch.allclose(probs.sum(1), torch.ones(23), atol=1e-5)
    assert probs.std(0).min() > 1e-3  # the rows differ
    assert torch.equal(probs, probabilities(net, images, tta, precision))


def test_they_are_the_softmax_in_evaluation_mode(net, images):
    probs = probabilities(net, images, "none", FLOAT32)
    with torch.no_grad():
        logits = net.eval()(preprocess(images)).double()
    torch.testing.assert_close(probs.double(), logits.exp() / logits.exp().sum(1, keepdim=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tta", ["none", "flip"])
@pytest.mark.parametrize("batch_size", [1, 7, 22, 23, 24])
def test_the_batch_size_does_not_matter(net, images, tta, batch_size):
    whole = probabilities(net, images, tta, FLOAT32)
    torch.testing.assert_close(probabilities(net, images, tta, FLOAT32, batch_size), whole, rtol=1e-5, atol=1e-6)


def test_flip_is_the_mean_of_an_image_and_its_mirror_image(net, images):
    seen, mirrored = (probabilities(net, x, "none", FLOAT32) for x in (images, images.flip(-1)))
    assert (seen - mirrored).abs().max() > 0.01
    torch.testing.assert_close(probabilities(net, images, "flip", FLOAT32), (seen + mirrored) / 2)


def test_bf16_is_near_float32_and_not_it(net, images):
    exact, rough = (probabilities(net, images, "none", precision) for precision in (FLOAT32, BF16))
    assert 0 < (exact - rough).abs().max() < 0.02


def test_the_network_is_left_in_evaluation_mode_and_otherwise_unchanged(net, images):
    before, stored = weights(net), images.clone()
    probabilities(net, images, "flip", FLOAT32)
    assert not any(module.training for module in net.modules())
    assert equal(net.state_dict(), before) and torch.equal(images, stored)
