"""Roll-out is what a plain reference computes, and the network gives the same logits afterwards."""

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from src import models
from src.models.attention_cnn import CBAM
from src.report.attention import CBAM as CBAM_KIND
from src.report.attention import GRAD_CAM, ROLLOUT, maps_of, meanings
from src.report.rollout import attention_rollout, has_rollout
from src.report.spatial_attention import spatial_attention
from tests.support.fake_cuda import CUDA, fake_cuda
from tests.support.networks import random_faces


def small_vit(**more) -> VisionTransformer:
    torch.manual_seed(0)
    sizes = {"img_size": 48, "patch_size": 16, "in_chans": 1, "num_classes": 7, "embed_dim": 12, "depth": 3}
    net = VisionTransformer(**sizes, num_heads=2, **more)
    for p in net.parameters():
        nn.init.normal_(p, std=0.5)
    return net.eval()


def plain_attention(block: nn.Module, x: np.ndarray) -> np.ndarray:
    """The mean of the heads' attention of one image, x: (tokens, width), by loops over heads and tokens."""
    attention, heads = block.attn, block.attn.num_heads
    rows = block.norm1(torch.from_numpy(x)).detach()
    qkv = (rows @ attention.qkv.weight.T + attention.qkv.bias).detach().numpy()
    width, found = x.shape[1] // heads, np.zeros((len(x), len(x)))
    for head in range(heads):
        query = qkv[:, head * width : (head + 1) * width]
        key = qkv[:, x.shape[1] + head * width : x.shape[1] + (head + 1) * width]
        for token in range(len(x)):
            scores = np.array([query[token] @ other / width**0.5 for other in key])
            weights = np.exp(scores - scores.max())
            found[token] += weights / weights.sum() / heads
    return found


def plain_rollout(net: VisionTransformer, image: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        tokens = net._pos_embed(net.patch_embed(image[None]))
        flow = np.eye(tokens.shape[1])
        for block in net.blocks:
            flow = (0.5 * plain_attention(block, tokens[0].numpy()) + 0.5 * np.eye(len(flow))) @ flow
            tokens = block(tokens)
    return flow


AVERAGED = {"global_pool": "avg"}


@pytest.mark.parametrize(("more", "prefix"), [({}, 1), (AVERAGED, 1), (AVERAGED | {"class_token": False}, 0)])
def test_it_is_what_a_plain_reference_computes(more, prefix):
    net, x = small_vit(**more), random_faces(2)
    maps = attention_rollout(net, net, x)
    for image, found in zip(x, maps, strict=True):
        flow = plain_rollout(net, image)
        expected = (flow[prefix:].mean(0) if more else flow[0])[prefix:].reshape(3, 3)
        resized = nn.functional.interpolate(torch.tensor(expected)[None, None], size=(48, 48), mode="bilinear")
        assert np.allclose(found, resized[0, 0], atol=1e-5)


def test_the_network_is_left_as_it_was():
    net, x = small_vit(), random_faces(2)
    logits, fused = net(x), [block.attn.fused_attn for block in net.blocks]
    net.train()
    attention_rollout(net, net, x)
    assert [block.attn.fused_attn for block in net.blocks] == fused and net.training
    assert torch.equal(net.eval()(x), logits)


def test_a_transformer_has_roll_out_and_other_networks_have_grad_cam():
    images = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8)
    assert list(maps_of(small_vit(), images)) == [ROLLOUT]
    plain = nn.Sequential(nn.Conv2d(1, 3, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7))
    assert not has_rollout(plain) and list(maps_of(plain, images)) == [GRAD_CAM]
    assert maps_of(nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7)), images) == {}


def test_a_transformer_whose_attention_is_not_over_all_patches_is_refused():
    net = small_vit()
    net.patch_embed.grid_size = (4, 4)
    with pytest.raises(ValueError, match="17 tokens"):
        attention_rollout(net, net, random_faces(1))
    assert not any(m._forward_hooks for m in net.modules())


def test_the_spatial_attention_of_cbam_is_what_multiplies_the_maps():
    torch.manual_seed(0)
    convolution, attention = nn.Conv2d(1, 16, 4, 4), CBAM(16)
    attention.mlp[2].weight.data.zero_()  # all channels weigh the same: sigmoid(2 * bias)
    attention.mlp[2].bias.data.zero_()
    net, x = nn.Sequential(convolution, attention, nn.Flatten(), nn.Linear(16 * 144, 7)).eval(), random_faces(2)
    inputs = convolution(x) / 2
    ratio = (attention(convolution(x)) / inputs).mean(1, keepdim=True)
    expected = nn.functional.interpolate(ratio, size=(48, 48), mode="bilinear")[:, 0]
    found = spatial_attention(net, x)
    assert list(found) == [12] and torch.allclose(found[12], expected, atol=1e-4) and found[12].std() > 0
    assert set(meanings([f"{CBAM_KIND} 12x12"])) == {CBAM_KIND}


@pytest.mark.parametrize("name", ["attention_cnn", "deep_cnn_v2", "vit"])
def test_on_a_made_up_gpu_devices_do_not_mix_and_maps_come_to_the_cpu(name, monkeypatch):
    """The made-up GPU has no engine for gradients, so that of Grad-CAM is made up too."""
    monkeypatch.setattr(torch.autograd, "grad", lambda output, features: (torch.ones_like(features),))
    with fake_cuda():
        net, images = models.create(name).to(CUDA), torch.zeros(2, 1, 48, 48, dtype=torch.uint8).to(CUDA)
        found = maps_of(net, images)
    assert all(isinstance(maps, np.ndarray) and maps.shape == (2, 48, 48) for maps in found.values()) and found
