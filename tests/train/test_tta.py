"""Views of test-time augmentation against torchvision and plain indexing."""

import pytest
import torch
from torchvision.transforms.v2 import functional as T

from src.config import TTA
from src.dataset import PIXEL_MEAN, PIXEL_STD
from src.train.tta import TTA_VIEWS, mirrored, scaled, shifted

BLACK = -PIXEL_MEAN / PIXEL_STD


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(3, 1, 48, 48, generator=torch.Generator().manual_seed(5))


def test_every_set_that_a_recipe_can_name_has_its_views(x):
    assert tuple(TTA_VIEWS) == TTA
    assert [len(views) for views in TTA_VIEWS.values()] == [1, 2, 5, 10, 6]
    for views in TTA_VIEWS.values():
        seen = [view(x) for view in views]
        assert torch.equal(seen[0], x) and all(one.shape == x.shape for one in seen)
        assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize(("right", "down"), [(2, 0), (-2, 0), (0, 3), (0, -1), (2, -2)])
def test_a_shift_is_torchvisions(x, right, down):
    expected = T.affine(x, angle=0, translate=[right, down], scale=1, shear=[0, 0], fill=[BLACK])
    torch.testing.assert_close(shifted(right, down)(x), expected)


def test_a_mirrored_view_is_its_mirror_image(x):
    view = shifted(2, 1)
    assert torch.equal(mirrored(view)(x), view(x).flip(-1))


def test_a_scaled_view_is_resized_about_the_centre(x):
    large, small = scaled(2)(x), scaled(-2)(x)
    torch.testing.assert_close(large, T.resize(x, [52, 52], antialias=False)[..., 2:50, 2:50])
    torch.testing.assert_close(small[..., 2:46, 2:46], T.resize(x, [44, 44], antialias=True))
    frame = small.clone()
    frame[..., 2:46, 2:46] = BLACK
    assert (frame == torch.tensor(BLACK)).all()
