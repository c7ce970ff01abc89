"""Augmentation: each transform against torchvision's, image by image; each range as measured on the results.

A bright blob beside the centre shows by its new place how its image was rotated, sheared, scaled and shifted.
"""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import functional as TF

from src.config import Augment
from src.data.augment import augment, color_jitter, geometry, preprocess
from src.dataset import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD

ALL = Augment(rotation=15, flip=0.5, shift=0.1, scale=0.1, shear=10, brightness=0.2, contrast=0.2, erase=0.5)
EACH = [Augment(**{f.name: getattr(ALL, f.name)}) for f in dataclasses.fields(Augment)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, side: int = IMAGE_SIZE, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, side, side), generator=seeded(seed), dtype=torch.uint8)


def smooth(n: int) -> torch.Tensor:
    """Random images without fine detail, float in 0 … 1, bright up to the border."""
    return torch.nn.functional.interpolate(noise(n, 7).float() / 255, size=IMAGE_SIZE, mode="bilinear")


def pixels(x: torch.Tensor) -> torch.Tensor:
    """Normalised images back in 0 … 1."""
    return x * PIXEL_STD + PIXEL_MEAN


def short(settings: Augment) -> str:
    return "+".join(key for key, value in dataclasses.asdict(settings).items() if value) or "off"


every_setting = pytest.mark.parametrize("settings", [Augment(), *EACH, ALL], ids=short)


# ---------------------------------------------------------------------------------------- for any setting


@every_setting
@pytest.mark.parametrize("n", [1, 5])
def test_the_result_is_float32_of_the_same_shape_and_range_and_the_stored_images_stay(settings, n):
    images = noise(n)
    x = augment(images, settings, seeded())
    assert x.shape == (n, 1, IMAGE_SIZE, IMAGE_SIZE) and x.dtype == torch.float32
    assert pixels(x).min() > -1e-5 and pixels(x).max() < 1 + 1e-5  # false for nan, too
    assert torch.equal(images, noise(n))


@every_setting
def test_a_seed_repeats_and_another_differs_if_anything_is_on(settings):
    images = noise(20)
    first = augment(images, settings, seeded(1))
    assert torch.equal(augment(images, settings, seeded(1)), first)
    assert torch.equal(augment(images, settings, seeded(2)), first) == (settings == Augment())


@every_setting
def test_each_batch_goes_on_in_the_generators_stream_by_the_same_length(settings):
    generator, other = seeded(), seeded()
    augment(noise(4), settings, generator)
    augment(noise(4, seed=9), Augment(), other)
    assert torch.equal(generator.get_state(), other.get_state())
    assert not torch.equal(generator.get_state(), seeded().get_state())


@every_setting
def test_a_result_depends_on_its_own_image_alone(settings):
    images, changed = noise(6), noise(6)
    changed[[0, 1, 2, 4, 5]] = noise(5, seed=8)
    assert torch.equal(augment(images, settings, seeded())[3], augment(changed, settings, seeded())[3])


@pytest.mark.parametrize("settings", [*EACH, ALL], ids=short)
def test_the_images_of_a_batch_draw_their_own_parameters(settings):
    same = smooth(1).mul(255).byte().expand(60, -1, -1, -1)
    different = len(augment(same, settings, seeded()).flatten(1).unique(dim=0))
    if settings == Augment(flip=settings.flip):
        assert different == 2  # the image and its mirror image
    else:
        assert different > (20 if settings == Augment(erase=settings.erase) else 55)


def test_switching_one_thing_on_leaves_the_others_draws():
    images = smooth(30).mul(255).byte()
    without = augment(images, dataclasses.replace(ALL, erase=0), seeded())
    erased = augment(images, ALL, seeded())
    assert 0 < (erased != without).float().mean() < 0.3
    assert (erased[erased != without] == 0).all()


# --------------------------------------------------------------------------------- nothing on, normalising


def test_with_all_off_only_preprocessing_is_left():
    images = noise(7)
    assert torch.equal(augment(images, Augment(), seeded()), preprocess(images))


def test_preprocessing_subtracts_the_mean_of_train_csv_and_divides_by_its_deviation():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = (torch.arange(256, dtype=torch.float64) - 129.47) / 65.04
    torch.testing.assert_close(preprocess(levels).double().flatten(), expected, atol=5e-4, rtol=0)
    assert preprocess(levels).dtype == torch.float32


# ------------------------------------------------------------------------------- geometry, by torchvision


def parameters(settings: Augment, draws: torch.Tensor) -> list[dict]:
    """What the draws mean, image by image, in torchvision's units: degrees, pixels, factors."""
    spread = 2 * draws - 1
    return [
        {
            "flip": bool(draws[0, i] < settings.flip),
            "angle": float(spread[1, i] * settings.rotation),
            "shear": [float(spread[2, i] * settings.shear), 0.0],
            "scale": float(1 + spread[3, i] * settings.scale),
            "translate": (spread[4:, i] * settings.shift * IMAGE_SIZE).tolist(),
        }
        for i in range(draws.shape[1])
    ]


def by_torchvision(image: torch.Tensor, flip: bool, **affine) -> torch.Tensor:
    image = TF.hflip(image) if flip else image
    return TF.affine(image, interpolation=TF.InterpolationMode.BILINEAR, **affine)


GEOMETRY = [
    Augment(rotation=180),
    Augment(shear=40),
    Augment(scale=0.5),
    Augment(shift=0.3),
    Augment(shift=0.3, flip=1),
    Augment(rotation=15, shear=10, scale=0.1, shift=0.1),
    Augment(rotation=90, shear=30, scale=0.4, shift=0.2, flip=0.5),
]


@pytest.mark.parametrize("settings", GEOMETRY, ids=short)
def test_geometry_is_torchvisions_affine_up_to_the_border(settings):
    x, draws = smooth(16), torch.rand(6, 16, generator=seeded(3))
    draws[:, 0], draws[:, 1] = 0.0, 1 - 2**-24
    expected = [by_torchvision(image, **p) for image, p in zip(x, parameters(settings, draws), strict=True)]
    torch.testing.assert_close(geometry(x.clone(), settings, draws), torch.stack(expected), atol=2e-4, rtol=0)


def test_a_quarter_turn_and_a_shift_by_pixels_are_exact():
    x, draws = smooth(1), torch.full((6, 1), 0.5)
    draws[1] = 1.0  # + 90 degrees: clockwise, as in torchvision
    torch.testing.assert_close(geometry(x.clone(), Augment(rotation=90), draws), x.rot90(-1, (2, 3)), atol=1e-4, rtol=0)
    draws[1], draws[4], draws[5] = 0.5, 1.0, 0.0  # 6 pixels to the right, 6 up
    moved = geometry(x.clone(), Augment(shift=6 / IMAGE_SIZE), draws)
    torch.testing.assert_close(moved[..., :-6, 6:], x[..., 6:, :-6], atol=1e-4, rtol=0)
    assert moved[..., -6:, :].abs().max() < 1e-4 and moved[..., :6].abs().max() < 1e-4  # black comes in


# ------------------------------------------------------------------------------------ geometry, measured


def blob(x: int, y: int, n: int) -> torch.Tensor:
    """n equal images of a bright spot, so many pixels right of the centre and below it."""
    at = torch.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2
    spot = torch.exp(-((at - x) ** 2).view(1, -1) / 8 - ((at - y) ** 2).view(-1, 1) / 8)
    return spot.mul(255).byte().expand(n, 1, -1, -1)


def centre(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The centre of the brightness of each normalised image, in pixels right of the middle and below it."""
    weight, at = pixels(x).squeeze(1), torch.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2
    total = weight.sum((1, 2))
    return (weight.sum(1) * at).sum(1) / total, (weight.sum(2) * at).sum(1) / total


def assert_even(measured: torch.Tensor, limit: float, near: float) -> None:
    """Spread evenly over ± limit, and not beyond it."""
    assert measured.abs().max() < limit + near
    assert measured.min() < -0.97 * limit + near and measured.max() > 0.97 * limit - near
    assert abs(measured.mean()) < 0.1 * limit
    assert measured.std() == pytest.approx(limit / math.sqrt(3), rel=0.1)


def test_shift_is_even_within_its_limits_each_way_by_itself():
    x, y = centre(augment(blob(0, 0, 800), Augment(shift=0.1), seeded()))
    assert_even(x, 4.8, 0.1)
    assert_even(y, 4.8, 0.1)
    assert torch.corrcoef(torch.stack([x, y]))[0, 1].abs() < 0.1


def test_rotation_is_even_within_its_limits_and_about_the_centre():
    x, y = centre(augment(blob(12, 0, 800), Augment(rotation=15), seeded()))
    assert_even(torch.atan2(y, x).rad2deg(), 15, 0.5)
    torch.testing.assert_close(x.hypot(y), torch.full((800,), 12.0), atol=0.1, rtol=0)


def test_scale_is_even_within_its_limits():
    x, y = centre(augment(blob(12, -9, 800), Augment(scale=0.1), seeded()))
    assert_even(x.hypot(y) / 15 - 1, 0.1, 0.01)
    torch.testing.assert_close(torch.atan2(y, x), torch.full((800,), math.atan2(-9, 12)), atol=0.01, rtol=0)


def test_shear_is_even_within_its_limits_and_keeps_the_rows():
    x, y = centre(augment(blob(0, 12, 800), Augment(shear=10), seeded()))
    assert_even(torch.atan2(x, y).rad2deg(), 10, 0.5)
    torch.testing.assert_close(y, torch.full((800,), 12.0), atol=0.1, rtol=0)


# --------------------------------------------------------------------------------------------------- flip


def test_flip_hits_its_share_of_the_images_and_leaves_the_rest_exactly():
    images = noise(3000, side=6)
    x = augment(images, Augment(flip=0.3), seeded())
    same, mirrored = ((x == other).flatten(1).all(1) for other in (preprocess(images), preprocess(images.flip(-1))))
    assert (same ^ mirrored).all()
    assert mirrored.float().mean() == pytest.approx(0.3, abs=0.03)


# ------------------------------------------------------------------------------------------- color jitter


@pytest.mark.parametrize(
    ("brightness", "contrast"), [(0.2, 0.0), (1.0, 0.0), (0.0, 0.2), (0.0, 1.0), (0.2, 0.2), (1.0, 1.0)]
)
def test_color_jitter_is_torchvisions_brightness_then_contrast(brightness, contrast):
    x, draws = smooth(16), torch.rand(2, 16, generator=seeded(4))
    draws[:, 0], draws[:, 1] = 0.0, 1 - 2**-24
    factors = 1 + (2 * draws - 1) * torch.tensor([[brightness], [contrast]])
    expected = [
        TF.adjust_contrast(TF.adjust_brightness(image, float(b)), float(c))
        for image, b, c in zip(x, *factors, strict=True)
    ]
    found = color_jitter(x.clone(), Augment(brightness=brightness, contrast=contrast), draws)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)


def test_brightness_is_even_within_its_limits():
    grey = torch.full((800, 1, 4, 4), 100, dtype=torch.uint8)
    found = pixels(augment(grey, Augment(brightness=0.2), seeded()))
    assert torch.all(found == found[:, :, :1, :1])
    assert_even(found[:, 0, 0, 0] * 255 / 100 - 1, 0.2, 1e-4)


def test_contrast_is_even_within_its_limits_and_keeps_the_mean():
    halves = torch.tensor([90, 150], dtype=torch.uint8).view(1, 1, 1, 2).expand(800, 1, 4, 2)
    found = pixels(augment(halves, Augment(contrast=0.2), seeded())) * 255
    assert_even((found[..., 1] - found[..., 0]).mean((1, 2)) / 60 - 1, 0.2, 1e-4)
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.full((800,), 120.0), atol=1e-3, rtol=0)


# ------------------------------------------------------------------------------------------------ erasing


@pytest.fixture(scope="module")
def holes():
    """bool (2000, 48, 48): what is blanked out where every image is hit."""
    white = torch.full((2000, 1, IMAGE_SIZE, IMAGE_SIZE), 255, dtype=torch.uint8)
    x = augment(white, Augment(erase=1), seeded())
    assert set(x.unique().tolist()) == {0.0, preprocess(white[:1, :, :1, :1]).item()}
    return x.squeeze(1) == 0


def test_erasing_hits_its_share_of_the_images_and_leaves_the_rest_exactly():
    images = noise(4000, side=12).clamp(max=100)  # no pixel is the mean grey
    x = augment(images, Augment(erase=0.1), seeded())
    hit = (x == 0).flatten(1).any(1)
    assert hit.float().mean() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(x[~hit], preprocess(images)[~hit])
    assert torch.equal(x[x != 0], preprocess(images)[x != 0])


def test_what_is_erased_is_one_rectangle(holes):
    down, across = holes.any(2), holes.any(1)
    assert torch.equal(holes, down.unsqueeze(2) & across.unsqueeze(1))
    for side in (down, across):
        edges = torch.nn.functional.pad(side.int(), (1, 1)).diff(dim=1)
        assert torch.all((edges == 1).sum(1) == 1)  # one beginning: no gap


def test_the_erased_area_and_its_sides_are_in_their_ranges(holes):
    area = holes.float().mean((1, 2))
    rounding = 2 * 0.5 / IMAGE_SIZE  # of each of two sides, to whole pixels
    assert area.min() > 0.02 - 0.2 * rounding and area.max() < 0.33 + 0.6 * rounding
    assert area.min() < 0.025 and area.max() > 0.32
    assert area.mean() == pytest.approx(0.175, abs=0.01)
    ratio = (holes.any(2).sum(1) / holes.any(1).sum(1)).log()
    assert ratio.min() > math.log(0.3) - 0.15 and ratio.max() < math.log(3.3) + 0.15  # whole pixels
    assert ratio.min() < math.log(0.33) and ratio.max() > math.log(3.0) and abs(ratio.mean()) < 0.08
    assert holes.any(0).all()  # anywhere


def test_half_the_image_size_alone_is_average_pooling():
    """At half the side a bilinear sample lies between four pixels."""
    images = torch.randint(0, 256, (3, 1, 48, 48), dtype=torch.uint8)
    small = augment(images, Augment(), torch.Generator(), 24)
    assert torch.allclose(small, F.avg_pool2d(preprocess(images), 2), atol=1e-5)


def test_another_image_size_has_the_same_draws_and_shows_the_same_picture():
    """A face of low frequencies, so that the sampling does not matter."""
    wave = torch.linspace(0, 3.14, 48).sin()
    images = (200 * wave[:, None] * wave).to(torch.uint8).expand(4, 1, 48, 48)
    settings = Augment(rotation=30, flip=0.5, shift=0.2, brightness=0.3, contrast=0.3)
    whole = augment(images, settings, torch.Generator().manual_seed(3))
    small = augment(images, settings, torch.Generator().manual_seed(3), 36)
    assert small.shape == (4, 1, 36, 36)
    assert (F.interpolate(whole, size=(36, 36), mode="bilinear") - small).abs().mean() < 0.05
