"""Probabilities are probabilities, whatever the batch, the view, the precision and the mode the network was in."""

import pytest
import torch
from torch import nn

from src.data.augment import preprocess
from src.train.precision import Precision
from src.train.predict import probabilities

FLOAT32, BF16 = (Precision(name, "", torch.device("cpu")) for name in ("float32", "bf16"))


@pytest.fixture
def net():
    """A small network that is not symmetric, has learnt statistics and stands in training mode."""
    torch.manual_seed(3)
    layers = nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)
    net = nn.Sequential(*layers, nn.Linear(4 * 15**2, 7))
    net(torch.randn(16, 1, 48, 48))
    return net.train()


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (23, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("precision", [FLOAT32, BF16], ids=lambda p: p.name)
@pytest.mark.parametrize("views", ["none", "flip"])
def test_each_row_holds_probabilities_in_float32(net, images, views, precision):
    probs = probabilities(net, images, views, precision)
    assert probs.shape == (23, 7) and probs.dtype == torch.float32
    assert (probs > 0).all() and torch.allclose(probs.sum(1), torch.ones(23), atol=1e-5)
    assert probs.std(0).min() > 1e-3  # the rows differ


def test_the_plain_view_is_the_softmax_in_evaluation_mode(net, images):
    probs = probabilities(net, images, "none", FLOAT32)
    with torch.no_grad():
        logits = net.eval()(preprocess(images)).double()
    torch.testing.assert_close(probs.double(), logits.exp() / logits.exp().sum(1, keepdim=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("views", ["none", "flip"])
@pytest.mark.parametrize("batch", [1, 7, 22, 23, 24])
def test_the_size_of_a_batch_does_not_matter(net, images, views, batch):
    whole = probabilities(net, images, views, FLOAT32)
    torch.testing.assert_close(probabilities(net, images, views, FLOAT32, batch), whole, rtol=1e-5, atol=1e-6)


def test_a_row_depends_on_its_own_image_alone(net, images):
    order = torch.randperm(23, generator=torch.Generator().manual_seed(5))
    whole = probabilities(net, images, "flip", FLOAT32)
    moved = probabilities(net, images[order[:9]], "flip", FLOAT32)
    torch.testing.assert_close(moved, whole[order[:9]], rtol=1e-5, atol=1e-6)


def test_the_flip_view_is_the_mean_of_the_two_probabilities(net, images):
    seen, mirrored = (probabilities(net, x, "none", FLOAT32) for x in (images, images.flip(-1)))
    assert (seen - mirrored).abs().max() > 0.01
    torch.testing.assert_close(probabilities(net, images, "flip", FLOAT32), (seen + mirrored) / 2)


def test_the_flip_view_of_mirror_images_is_the_same(net, images):
    both = probabilities(net, images, "flip", FLOAT32)
    torch.testing.assert_close(probabilities(net, images.flip(-1), "flip", FLOAT32), both)


def test_bf16_is_near_float32_and_not_it(net, images):
    exact, rough = (probabilities(net, images, "none", precision) for precision in (FLOAT32, BF16))
    assert 0 < (exact - rough).abs().max() < 0.02


def test_the_network_is_left_in_evaluation_mode_and_otherwise_as_it_was(net, images):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    stored = images.clone()
    probabilities(net, images, "flip", FLOAT32)
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(images, stored)


def test_prediction_keeps_no_graph_and_repeats_to_the_bit(net, images):
    first, second = (probabilities(net, images, "none", FLOAT32) for _ in range(2))
    assert not first.requires_grad and torch.equal(first, second)
