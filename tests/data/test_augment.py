"""Augmentation: each transform against torchvision's, image by image, and its ranges as measured on the results."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import functional as TF

from src.config import Augment
from src.data.augment import augment, color_jitter, cropped, geometry, preprocess
from src.dataset import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD

ALL = Augment(rotation=15, flip=0.5, shift=0.1, scale=0.1, shear=10, brightness=0.2, contrast=0.2, erase=0.5)
EACH = [Augment(**{f.name: v}) for f in dataclasses.fields(Augment) if (v := getattr(ALL, f.name)) != f.default]


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
    off = dataclasses.asdict(Augment())
    return "+".join(key for key, value in dataclasses.asdict(settings).items() if value != off[key]) or "off"


every_setting = pytest.mark.parametrize("settings", [Augment(), *EACH, ALL], ids=short)


@every_setting
@pytest.mark.parametrize("n", [1, 5])
def test_the_result_is_float32_of_the_same_shape_and_range_and_the_stored_images_stay(settings, n):
    images = noise(n)
    x = augment(images, settings, seeded())
    assert x.shape == (n, 1, IMAGE_SIZE, IMAGE_SIZE) and x.dtype == torch.float32
    assert pixels(x).min() > -1e-5 and pixels(x).max() < 1 + 1e-5  # false for nan, too
    assert torch.equal(images, noise(n))


@every_setting
def test_a_seed_repeats_and_the_next_batch_is_another_if_anything_is_on(settings):
    images, generator, other = noise(20), seeded(1), seeded(1)
    first = augment(images, settings, generator)
    assert torch.equal(augment(images, settings, seeded(1)), first)
    augment(noise(20, seed=9), Augment(), other)
    assert torch.equal(generator.get_state(), other.get_state())  # the draws depend on the number of images alone
    assert torch.equal(augment(images, settings, generator), first) == (settings == Augment())


def test_the_draws_are_even_within_the_limits():
    """Of a white square in the middle, the shift by its centre; of the brightness, its level."""
    at, square = torch.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2, torch.zeros(800, 1, IMAGE_SIZE, IMAGE_SIZE)
    square[..., 16:32, 16:32] = 200
    moved = pixels(augment(square.byte(), Augment(shift=0.1), seeded())).squeeze(1)
    x, y = ((moved.sum(dim) * at).sum(1) / moved.sum((1, 2)) / 4.8 for dim in (1, 2))
    level = pixels(augment(square.byte(), Augment(brightness=0.2), seeded()))[:, 0, 24, 24]
    for measured in (x, y, (level * 255 / 200 - 1) / 0.2):
        assert measured.abs().max() < 1.02 and measured.min() < -0.95 and measured.max() > 0.95
        assert abs(measured.mean()) < 0.1 and measured.std() == pytest.approx(1 / math.sqrt(3), rel=0.1)
    assert torch.corrcoef(torch.stack([x, y]))[0, 1].abs() < 0.1


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


def test_preprocessing_subtracts_the_mean_of_train_csv_and_divides_by_its_deviation():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = (torch.arange(256, dtype=torch.float64) - 129.47) / 65.04
    torch.testing.assert_close(preprocess(levels).double().flatten(), expected, atol=5e-4, rtol=0)
    assert torch.equal(augment(levels, Augment(), seeded()), preprocess(levels))


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


def test_flip_hits_its_share_of_the_images_and_leaves_the_rest_exactly():
    images = noise(3000, side=6)
    x = augment(images, Augment(flip=0.3), seeded())
    same, mirrored = ((x == other).flatten(1).all(1) for other in (preprocess(images), preprocess(images.flip(-1))))
    assert (same ^ mirrored).all()
    assert mirrored.float().mean() == pytest.approx(0.3, abs=0.03)


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


def test_erasing_hits_its_share_of_the_images_and_leaves_the_rest_exactly():
    images = noise(4000, side=12).clamp(max=100)  # no pixel is the mean grey
    x = augment(images, Augment(erase=0.1), seeded())
    hit = (x == 0).flatten(1).any(1)
    assert hit.float().mean() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(x[~hit], preprocess(images)[~hit])
    assert torch.equal(x[x != 0], preprocess(images)[x != 0])


def test_what_is_erased_is_one_rectangle_with_area_and_sides_in_their_ranges():
    white = torch.full((2000, 1, IMAGE_SIZE, IMAGE_SIZE), 255, dtype=torch.uint8)
    x = augment(white, Augment(erase=1), seeded())
    assert set(x.unique().tolist()) == {0.0, preprocess(white[:1, :, :1, :1]).item()}
    holes = x.squeeze(1) == 0
    down, across = holes.any(2), holes.any(1)
    assert torch.equal(holes, down.unsqueeze(2) & across.unsqueeze(1))
    assert all(torch.all((F.pad(side.int(), (1, 1)).diff(dim=1) == 1).sum(1) == 1) for side in (down, across))  # no gap
    area = holes.float().mean((1, 2))
    rounding = 2 * 0.5 / IMAGE_SIZE  # of each of two sides, to whole pixels
    assert area.min() > 0.02 - 0.2 * rounding and area.max() < 0.33 + 0.6 * rounding
    assert area.min() < 0.025 and area.max() > 0.32
    assert area.mean() == pytest.approx(0.175, abs=0.01)
    ratio = (down.sum(1) / across.sum(1)).log()
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


@pytest.mark.parametrize(("top", "left", "height", "width"), [(4, 0, 40, 36), (0, 12, 36, 36), (8, 8, 32, 40)])
def test_a_resized_crop_is_torchvisions(top, left, height, width):
    """Away from the border of the crop, where torchvision repeats pixels and the grid reads the neighbours."""
    x, smallest = smooth(3), 0.25
    area, ratio = height * width / 48**2, width / height
    draws = torch.zeros(10, 3)
    draws[1:6] = 0.5  # no rotation, shear, scale or shift
    draws[6] = (area - smallest) / (1 - smallest)
    draws[7] = (1 + math.log(ratio) / math.log(4 / 3)) / 2
    draws[8], draws[9] = (at / max(1, 48 - side) for at, side in ((left, width), (top, height)))
    found = geometry(x.clone(), Augment(resized_crop=smallest), draws)
    expected = TF.resized_crop(x, top, left, height, width, [48, 48], antialias=False)
    torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-4, rtol=0)


def test_a_resized_crop_comes_after_the_other_geometry_and_lies_within_the_image():
    x, draws = smooth(40), torch.rand(10, 40, generator=seeded(7))
    draws[6:, :4] = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]).T.repeat(1, 2)
    settings = Augment(rotation=20, flip=0.5, scale=0.1)
    both = geometry(x.clone(), dataclasses.replace(settings, resized_crop=0.3), draws)
    apart = geometry(geometry(x.clone(), settings, draws), Augment(resized_crop=0.3), of_crop(draws))
    assert (both - apart)[..., 4:-4, 4:-4].abs().mean() < 0.01  # the second way samples twice
    white = geometry(torch.ones_like(x), Augment(resized_crop=0.3), of_crop(draws))
    assert white[..., 1:-1, 1:-1].min() > 0.999


def of_crop(draws: torch.Tensor) -> torch.Tensor:
    """The draws of the crop; of the others those that change nothing."""
    still = torch.full_like(draws[:6], 0.5)
    still[0] = 1.0  # no flip
    return torch.cat([still, draws[6:]])


@pytest.mark.parametrize("smallest", [0.1, 0.5, 0.9, 1.0])
def test_a_resized_crops_area_is_even_down_to_the_smallest(smallest):
    theta = torch.eye(2, 3).expand(20_000, 2, 3)
    found = cropped(theta, smallest, torch.rand(4, 20_000, generator=seeded(1)))
    width, height, centre = found[:, 0, 0], found[:, 1, 1], found[:, :, 2].abs()
    area, ratio = width * height, width / height
    assert smallest - 1e-4 <= area.min() < smallest + 1e-3 and area.max() <= 1 + 1e-5
    assert area.mean().item() == pytest.approx((1 + smallest) / 2, abs=0.005)
    assert ratio.min() >= 3 / 4 - 1e-4 and ratio.max() <= 4 / 3 + 1e-4
    assert (centre + torch.stack([width, height], 1)).max() <= 1 + 1e-5  # within the image


def test_a_resized_crop_draws_after_all_others():
    images = noise(4)
    plain, cropped = seeded(3), seeded(3)
    augment(images, ALL, plain)
    torch.rand((4, 4), generator=plain)
    augment(images, dataclasses.replace(ALL, resized_crop=0.5), cropped)
    assert torch.equal(plain.get_state(), cropped.get_state())


def test_what_is_erased_is_at_most_the_set_share():
    white = torch.full((500, 1, IMAGE_SIZE, IMAGE_SIZE), 255, dtype=torch.uint8)
    area = (augment(white, Augment(erase=1, erase_max_area=0.1), seeded()) == 0).float().mean((1, 2, 3))
    assert 0.09 < area.max() < 0.115 and area.min() < 0.03
