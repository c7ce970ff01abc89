"""The input adapter: resized bilinearly and renormalized, so that a network sees what its weights were trained on."""

import pytest
import torch
from torch.nn import functional as F

from src import models
from src.dataset import PIXEL_MEAN, PIXEL_STD
from src.models.input_adapter import InputAdapter, published_normalization
from tests.support.networks import random_faces


def as_input(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels scaled to 0-1, as networks get them."""
    return (pixels - PIXEL_MEAN) / PIXEL_STD


def test_it_resizes_bilinearly_and_renormalizes_the_pixels():
    pixels = torch.rand(3, 1, 48, 48)
    expected = (F.interpolate(pixels, size=(64, 64), mode="bilinear") - 0.5) / 0.25
    torch.testing.assert_close(InputAdapter(64, 0.5, 0.25)(as_input(pixels)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("image_size", "side", "expected"), [(48, 24, 24), (96, 36, 72), (224, 30, 140), (64, 96, 64)])
def test_smaller_images_stay_smaller_in_the_same_ratio(image_size, side, expected):
    assert InputAdapter(image_size)(torch.zeros(2, 1, side, side)).shape == (2, 1, expected, expected)


def test_images_of_its_size_and_normalization_pass_unchanged():
    x = random_faces(2)
    assert InputAdapter(48)(x) is x


@pytest.mark.parametrize(
    ("network", "mean", "std"),
    [
        ("vit", 0.5, 0.5),
        ("mobilevit_xxs", 0.0, 1.0),
        ("resnet18", (0.485 + 0.456 + 0.406) / 3, (0.229 + 0.224 + 0.225) / 3),
        ("compact_cnn", PIXEL_MEAN, PIXEL_STD),
    ],
)
def test_the_pretrained_normalization_is_the_published_one_in_gray(network, mean, std):
    with torch.device("meta"):
        net = models.create(network, normalization="pretrained")
    assert published_normalization(net.body) == pytest.approx((mean, std))
    pixels = torch.rand(1, 1, models.native_image_size(network), models.native_image_size(network))
    torch.testing.assert_close(net.adapter(as_input(pixels)), (pixels - mean) / std, rtol=1e-4, atol=1e-5)


def test_the_normalization_does_not_change_the_initial_weights():
    nets = []
    for normalization in ("dataset", "pretrained"):
        torch.manual_seed(1)
        nets.append(models.create("resnet18", normalization=normalization))
    body = nets[1].body
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), body.parameters(), strict=True))
    assert models.body_of(nets[1]) is body and models.body_of(nets[0]) is nets[0]
