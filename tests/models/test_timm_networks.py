"""timm's networks: the notebooks' ViT and MobileViT, and any other by its name."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from src import models
from src.errors import UserError
from src.models.input_adapter import InputAdapter
from src.models.state_dict import load_weights
from tests.support.networks import random_faces, seasoned

TINY = "test_resnet"  # of timm's tests: 0.5 million parameters
SIZES = {"vit_tiny_patch16_224": 64, "mobilevit_xxs": 64, TINY: 48}


@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_a_gray_image_gets_the_logits_of_the_three_channel_network(name, tmp_path):
    """timm's own loading is the reference; it also resamples the ViT's position embeddings."""
    torch.manual_seed(3)
    published, file = timm.create_model(name), str(tmp_path / f"{name}.safetensors")
    for key, value in published.state_dict().items():
        if "running" in key:
            nn.init.uniform_(value, 0.5, 1.5)
    save_file(published.state_dict(), file)
    overlay, sized = {"file": file, "custom_load": False}, {"img_size": 64} if name.startswith("vit") else {}
    reference = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7, **sized).eval()
    body = models.body_of(models.create(f"timm:{name}", image_size=SIZES[name])).eval()
    load_weights(body, tmp_path / f"{name}.safetensors")
    models.head_of(body).load_state_dict(models.head_of(reference).state_dict())
    x = torch.rand(2, 1, SIZES[name], SIZES[name])
    torch.testing.assert_close(body(x), reference(x.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("image_size", "adapters"), [(None, [160]), (48, []), (64, [64])])
def test_any_timm_network_takes_images_at_its_native_size_or_another(image_size, adapters):
    net = seasoned(models.create(f"timm:{TINY}", image_size=image_size))
    assert [layer.image_size for layer in net.modules() if isinstance(layer, InputAdapter)] == adapters
    assert models.native_image_size(f"timm:{TINY}") == 160 and models.family(f"timm:{TINY}") == "timm"
    assert net(random_faces(2)).shape == (2, 7)


@pytest.mark.parametrize(("name", "image_size"), [("vit", 32), ("deep_cnn_v1", 96), ("resnet18", 64)])
def test_other_networks_take_another_size_where_they_can(name, image_size):
    with torch.device("meta"):
        assert models.create(name, image_size=image_size).eval()(torch.empty(1, 1, 48, 48)).shape == (1, 7)


@pytest.mark.parametrize("ask", [models.create, models.native_image_size])
def test_an_unknown_timm_name_names_near_ones(ask):
    name = "mobilenetv3_smal_050"
    with pytest.raises(UserError, match=rf"network=timm:{name}: timm [\d.]+ has no such .*near: .*_small_050"):
        ask(f"timm:{name}")
    for like_none in ("timm:zzzzzz", "timm:"):
        with pytest.raises(UserError, match=r"has no such network$"):
            ask(like_none)


def test_what_timm_cannot_make_is_a_user_error(monkeypatch):
    def refuse(*_, **__):
        raise TypeError("unexpected keyword argument 'img_size'")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UserError, match=r"timm:test_vit: timm cannot make it with {'img_size': 64}: unexpected"):
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
