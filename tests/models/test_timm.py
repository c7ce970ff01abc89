"""Networks of timm's: the notebooks' ViT and MobileViT and any other by its name; the front that feeds them."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from src import models
from src.dataset import PIXEL_MEAN as MEAN
from src.dataset import PIXEL_STD as STD
from src.errors import UserError
from src.models import pretrained
from src.models.input_adapter import InputAdapter, published_normalization
from tests.support.networks import faces, parameters, seasoned

TINY = "test_resnet"  # timm's own for its tests: 0.5 million parameters
SIDES = {"vit_tiny_patch16_224": 64, "mobilevit_xxs": 64, TINY: 48}


def published(name: str, **changes) -> nn.Module:
    """timm's network as its weights were published: three channels, 1,000 classes, its own side; in evaluation."""
    torch.manual_seed(3)
    net = timm.create_model(name, **changes).eval()
    for key, value in net.state_dict().items():
        if "running" in key:
            nn.init.uniform_(value, 0.5, 1.5)
    return net


@pytest.fixture(scope="module", params=SIDES)
def three(request, tmp_path_factory):
    """The name, the three-channel network's weights in a file, and the same with 7 classes at the side of the tests."""
    name = request.param
    net, file = published(name), tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
    save_file(net.state_dict(), file)
    overlay = {"file": str(file), "custom_load": False}
    sized = {"img_size": SIDES[name]} if name.startswith("vit") else {}
    reference = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7, **sized).eval()
    return name, file, reference


@torch.no_grad()
def test_a_gray_image_gets_the_answer_that_the_three_channel_network_gives_it_three_times(three):
    """timm's own loading is the reference; it also fits the ViT's positions, of 224 pixels, to the side."""
    name, file, reference = three
    net = models.create(f"timm:{name}", image_size=SIDES[name])
    body = models.body_of(net).eval()
    pretrained.load_weights(body, file)
    models.head_of(body).load_state_dict(models.head_of(reference).state_dict())
    x = torch.rand(2, 1, SIDES[name], SIDES[name])
    torch.testing.assert_close(body(x), reference(x.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "architecture", "stem", "width", "whole"),
    [
        ("vit", "vit_tiny_patch16_224", 192 * 16**2, 192, 5_717_416),
        ("mobilevit_xxs", "mobilevit_xxs", 16 * 3**2, 320, 1_272_024),
    ],
)
def test_the_number_of_parameters_is_the_published_but_for_two_channels_and_993_classes(
    name, architecture, stem, width, whole
):
    """The published numbers are those of timm's tables of results: 5.72 and 1.27 million."""
    with torch.device("meta"):
        assert parameters(timm.create_model(architecture)) == whole
        assert parameters(models.create(name)) == whole - 2 * stem - 993 * (width + 1)


def test_the_vit_is_timms_tiny_one():
    with torch.device("meta"):
        body = models.body_of(models.create("vit"))
    assert (len(body.blocks), body.embed_dim, body.blocks[0].attn.num_heads) == (12, 192, 3)
    assert body.patch_embed.proj.kernel_size == (16, 16) and body.patch_embed.grid_size == (14, 14)
    assert body.pretrained_cfg["architecture"] == "vit_tiny_patch16_224"


@pytest.mark.parametrize(("size", "side"), [(None, 160), (48, 48), (64, 64)])
def test_any_network_of_timms_takes_faces_at_its_own_side_or_another(size, side):
    net = seasoned(models.create(f"timm:{TINY}", image_size=size))
    fronts = [layer.image_size for layer in net.modules() if isinstance(layer, InputAdapter)]
    assert fronts == ([] if side == 48 else [side])
    assert models.native_image_size(f"timm:{TINY}") == 160
    assert net(faces(2)).shape == (2, 7)


def test_another_size_of_the_vit_has_other_positions_and_takes_faces():
    net = models.create("vit", image_size=32).eval()
    assert net.body.pos_embed.shape == (1, 1 + 4, 192) and net(faces(1)).shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "near"), [("tets_resnet", "test_resnet"), ("mobilenetv3_smal_050", "mobilenetv3_small_050")]
)
@pytest.mark.parametrize("ask", [models.create, models.native_image_size])
def test_an_unknown_name_of_timms_names_near_ones(ask, name, near):
    with pytest.raises(UserError, match=rf"network=timm:{name}: timm [\d.]+ has no such network; near: .*{near}"):
        ask(f"timm:{name}")


@pytest.mark.parametrize("name", ["timm:zzzzzz", "timm:"])
def test_a_name_that_is_like_none_of_timms_says_so_without_an_empty_list(name):
    with pytest.raises(UserError, match=r"has no such network$"):
        models.create(name)


def test_what_timm_cannot_make_is_the_users_error(monkeypatch):
    def refuse(*_, **__):
        raise TypeError("unexpected keyword argument 'img_size'")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(
        UserError, match=r"timm:test_vit: timm cannot make it with {'img_size': 64}: unexpected keyword"
    ):
        models.create("timm:test_vit", image_size=64)


@pytest.mark.parametrize(
    ("name", "heads"),
    [("resnetv2_50", [nn.Conv2d]), ("deit_tiny_distilled_patch16_224", [nn.Linear, nn.Linear]), (TINY, [nn.Linear])],
)
def test_the_last_layer_is_found_where_it_is_a_convolution_and_where_there_are_two(name, heads):
    with torch.device("meta"):
        head = models.head_of(models.create(f"timm:{name}", image_size=64))
    found = list(head) if isinstance(head, nn.ModuleList) else [head]
    assert [type(layer) for layer in found] == heads
    assert all(layer.weight.shape[0] == 7 for layer in found)


# ------------------------------------------------------------------------------------------------ the front


def as_input(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in 0 … 1 as networks get them."""
    return (pixels - MEAN) / STD


def test_the_front_enlarges_bilinearly_and_normalises_the_pixels_anew():
    pixels = torch.rand(3, 1, 48, 48)
    expected = (F.interpolate(pixels, size=(64, 64), mode="bilinear") - 0.5) / 0.25
    torch.testing.assert_close(InputAdapter(64, 0.5, 0.25)(as_input(pixels)), expected, rtol=1e-4, atol=1e-5)


def test_the_front_leaves_what_has_its_side_and_its_normalisation():
    x = faces(2)
    assert InputAdapter(48)(x) is x


@pytest.mark.parametrize(
    ("network", "mean", "std"),
    [
        ("vit", 0.5, 0.5),
        ("mobilevit_xxs", 0.0, 1.0),
        ("resnet18", (0.485 + 0.456 + 0.406) / 3, (0.229 + 0.224 + 0.225) / 3),
        ("compact_cnn", MEAN, STD),
    ],
)
def test_a_networks_own_normalisation_is_that_of_its_published_weights_in_gray(network, mean, std):
    with torch.device("meta"):
        net = models.create(network, normalization="pretrained")
    assert published_normalization(net.body) == pytest.approx((mean, std))
    pixels = torch.rand(1, 1, models.native_image_size(network), models.native_image_size(network))
    torch.testing.assert_close(net.adapter(as_input(pixels)), (pixels - mean) / std, rtol=1e-4, atol=1e-5)


def test_a_normalisation_is_no_other_network():
    """The body is drawn from the same numbers, and sees the same faces otherwise normalised."""
    torch.manual_seed(1)
    plain = models.create("resnet18").eval()
    torch.manual_seed(1)
    own = models.create("resnet18", normalization="pretrained").eval()
    pixels = torch.rand(1, 1, 48, 48)
    mean, std = published_normalization(plain)
    torch.testing.assert_close(own(as_input(pixels)), plain((pixels - mean) / std), rtol=1e-3, atol=1e-4)


def test_the_kits_own_networks_take_another_size_where_they_can():
    assert models.create("deep_cnn_v1", image_size=96).eval()(faces(1)).shape == (1, 7)
    assert models.create("resnet18", image_size=48).eval()(faces(1)).shape == (1, 7)
