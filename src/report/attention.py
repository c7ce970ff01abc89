"""Where a network looks: the maps that its family has, and a face coloured by a map."""

import numpy as np
import torch
from torch import Tensor, nn

from src import models
from src.data.augment import preprocess
from src.report.grad_cam import grad_cam
from src.report.rollout import attention_rollout, has_rollout
from src.report.spatial_attention import spatial_attention

GRAD_CAM, ROLLOUT, CBAM = "Grad-CAM", "attention roll-out", "CBAM"
MEANINGS = {
    GRAD_CAM: "the parts of the face that speak for the class that the network predicts: its last map of features, "
    "weighted by the gradient of that class (Selvaraju et al. 2017). It is as coarse as that map, often 6x6.",
    ROLLOUT: "how much of each patch of the face reaches the answer of a vision transformer, through the attention of "
    "all its blocks (Abnar & Zuidema 2020). It does not depend on the class.",
    CBAM: "the weight that the network itself gives to each position of its maps, whose side in pixels is named (Woo "
    "et al. 2018).",
}
STRENGTH = 0.6  # of the colour over the face


def maps_of(net: nn.Module, images: Tensor, classes: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The maps of faces by their kind, float32 (n, h, w): roll-out for a vision transformer, else Grad-CAM; CBAM's.

    images: uint8 (n, 1, h, w) on the network's device. classes: those that Grad-CAM explains, int64 (n,); None: what
    the network predicts without other views. The network, its mode and torch's generators stay as they were. Empty for
    a network that has no map of features.
    """
    x, body, found = preprocess(images), models.body_of(net), {}
    explained = None if classes is None else torch.from_numpy(classes).to(x.device)
    try:
        found[ROLLOUT] = attention_rollout(net, body, x) if has_rollout(body) else None
        found = found if found[ROLLOUT] is not None else {GRAD_CAM: grad_cam(net, x, explained)}
    except ValueError:
        found = {}
    found |= {f"{CBAM} {side}x{side}": maps for side, maps in spatial_attention(net, x).items()}
    return {kind: maps.cpu().numpy() for kind, maps in found.items()}


def meanings(kinds: list[str]) -> dict[str, str]:
    """What these kinds of maps are, for a page."""
    return {name: text for name, text in MEANINGS.items() if any(kind.startswith(name) for kind in kinds)}


def scaled(values: np.ndarray) -> np.ndarray:
    """A map, float (h, w), as uint8 from its lowest value, 0, to its highest, 255; a map of one value is 0."""
    low, high = float(values.min()), float(values.max())
    return np.round((values - low) / ((high - low) or 1) * 255).astype(np.uint8)


def coloured(image: np.ndarray, scaled_map: np.ndarray) -> np.ndarray:
    """A face under a map in the colours of viridis, uint8 (h, w, 3). image and scaled_map: uint8 (h, w)."""
    from matplotlib import colormaps

    colours = colormaps["viridis"](scaled_map)[..., :3] * 255
    mixed = STRENGTH * colours + (1 - STRENGTH) * image[..., None]
    return np.round(mixed).astype(np.uint8)
