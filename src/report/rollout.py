"""Attention roll-out (Abnar & Zuidema 2020): from which patches of an image a vision transformer's answer comes.

Each block mixes what it got with what its attention brings, half and half; the product over all blocks says how much
of each patch has reached the token, or the mean of the tokens, that is classified.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.models.watching import in_evaluation, watched


def has_rollout(body: nn.Module) -> bool:
    """Whether the network, without its input adapter, is a transformer of blocks over all patches, as timm has it."""
    blocks = getattr(body, "blocks", None)
    has_patches = hasattr(getattr(body, "patch_embed", None), "grid_size") and hasattr(body, "num_prefix_tokens")
    return has_patches and isinstance(blocks, nn.Sequential | nn.ModuleList) and all(map(_attention_of, blocks))


def _attention_of(block: nn.Module) -> nn.Module | None:
    attention = getattr(block, "attn", None)
    return attention if hasattr(attention, "fused_attn") and hasattr(attention, "attn_drop") else None


@torch.no_grad()
def attention_rollout(net: nn.Module, body: nn.Module, x: Tensor) -> Tensor:
    """The maps of images, float32 (n, h, w); before they are resized, the patches and the prefix tokens sum to 1.

    net: the whole network; body: it without its input adapter, as `has_rollout` accepts it. x: as the network takes it,
    float (n, 1, h, w). The weights and the network's mode stay as they were. Raises ValueError for attention that is
    not over all patches.
    """
    with in_evaluation(net):
        matrices = attention_matrices(net, body, x)
    prefix, grid = body.num_prefix_tokens, tuple(body.patch_embed.grid_size)
    tokens = prefix + grid[0] * grid[1]
    if not matrices or {tuple(matrix.shape[2:]) for matrix in matrices} != {(tokens, tokens)}:
        raise ValueError(f"{type(body).__name__} has no attention over {tokens} tokens in each block")
    flow = rollout(matrices)
    has_class_token = prefix and getattr(body, "cls_token", None) is not None
    is_classified = has_class_token and getattr(body, "global_pool", "token") == "token"  # else the patches' mean is
    answer = flow[:, 0] if is_classified else flow[:, prefix:].mean(1)
    maps = answer[:, prefix:].reshape(len(x), 1, *grid)
    return F.interpolate(maps, size=x.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)


def rollout(matrices: list[Tensor]) -> Tensor:
    """The product of (the heads' mean + identity) / 2 over all blocks, float32 (n, t, t).

    matrices: of each block, float (n, heads, t, t), rows sum to 1; the first block is the first.
    """
    identity = torch.eye(matrices[0].shape[-1], device=matrices[0].device)
    flow = identity.expand(len(matrices[0]), -1, -1)
    for matrix in matrices:
        flow = (matrix.float().mean(1) + identity) / 2 @ flow
    return flow


def attention_matrices(net: nn.Module, body: nn.Module, x: Tensor) -> list[Tensor]:
    """What the softmax of each block's attention gives, float (n, heads, t, t), in the order of the blocks."""
    found, attentions = [], [_attention_of(block) for block in body.blocks]
    drops = {attention.attn_drop for attention in attentions}

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if module in drops:
            found.append(output)

    with _unfused(attentions), watched(net, None, keep):
        net(x)
    return found


@contextmanager
def _unfused(attentions: list[nn.Module]) -> Iterator[None]:
    """A block in which the attentions compute their matrices, which torch's fused function never returns."""
    before = [attention.fused_attn for attention in attentions]
    try:
        for attention in attentions:
            attention.fused_attn = False
        yield
    finally:
        for attention, fused in zip(attentions, before, strict=True):
            attention.fused_attn = fused
