"""Standardization and equalization of images against plain numpy, and where a network does them."""

import numpy as np
import pytest
import torch

from src import models
from src.data.augment import preprocess
from src.dataset import PIXEL_MEAN, PIXEL_STD
from src.errors import UserError
from src.models.preprocessing import equalize, standardize


@pytest.fixture
def pixels() -> np.ndarray:
    """uint8 images: noise, dark, bright, of two levels, and of one."""
    rng = np.random.default_rng(0)
    levels = [(0, 256), (0, 40), (200, 256), (17, 19), (9, 10)]
    return np.stack([rng.integers(low, high, (1, 48, 48), dtype=np.uint8) for low, high in levels])


def numpy_equalized(image: np.ndarray) -> np.ndarray:
    """The fraction of the pixels above the darkest level that are at most as bright, in 0 to 1."""
    darkest = (image == image.min()).sum()
    if darkest == image.size:
        return image / 255
    at_most = np.array([(image <= level).sum() for level in range(256)])
    return ((at_most - darkest) / (image.size - darkest))[image]


def test_equalized_images_are_those_of_numpy(pixels):
    found = equalize(preprocess(torch.from_numpy(pixels))) * PIXEL_STD + PIXEL_MEAN
    expected = np.stack([numpy_equalized(image) for image in pixels])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert np.histogram(found[0].numpy(), 8, (0, 1))[0].std() < 10  # 288 a bin


def test_standardized_images_are_those_of_numpy(pixels):
    found = standardize(preprocess(torch.from_numpy(pixels)))
    values = pixels / 255.0
    mean, std = values.mean((1, 2, 3), keepdims=True), values.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found.numpy(), (values - mean) / np.maximum(std, 1 / 255), atol=1e-4)


@pytest.mark.parametrize("method", [equalize, standardize])
def test_brightness_and_contrast_of_an_image_do_not_matter(pixels, method):
    """Even levels, so that half of each is a level too."""
    image = torch.from_numpy(pixels[:3]) // 2 * 2
    one, other = method(preprocess(image)), method(preprocess(image // 2 + 60))
    torch.testing.assert_close(one, other, atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [None, 32])
@pytest.mark.parametrize("name", ["standardize", "equalize"])
def test_a_network_gets_its_images_preprocessed_before_they_are_resized(pixels, name, size):
    x, seen = preprocess(torch.from_numpy(pixels)), []
    net = models.create("resnet18", image_size=size, preprocessing=name).eval()
    models.body_of(net).register_forward_pre_hook(lambda body, inputs: seen.append(inputs[0]))
    net(x)
    expected = {"standardize": standardize, "equalize": equalize}[name](x)
    if size:
        expected = torch.nn.functional.interpolate(expected, size=(size, size), mode="bilinear")
    torch.testing.assert_close(seen[0], expected)


def test_stochastic_depth_reaches_the_networks_that_have_it_and_others_are_refused_by_name():
    for name, field in (("face_resnet_s", "p"), ("timm:test_vit", "drop_prob")):
        net = models.create(name, drop_path=0.4, image_size=48)
        layers = [layer for layer in net.modules() if type(layer).__name__ in ("StochasticDepth", "DropPath")]
        assert max(getattr(layer, field) for layer in layers) == pytest.approx(0.4), name
    with pytest.raises(UserError, match=r"drop_path=0.2: compact_cnn has no stochastic depth; .*face_resnet_s.*timm"):
        models.create("compact_cnn", drop_path=0.2)
    with pytest.raises(UserError, match=r"network=timm:vgg11: timm cannot make it with .*drop_path_rate"):
        models.create("timm:vgg11", drop_path=0.2)
