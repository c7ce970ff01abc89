"""The recipes for a high accuracy: from scratch with the networks for 48x48 faces, and from pretrained weights.

`..._cpu` are for two CPU cores, the others for a kernel's two T4 GPUs. `python -m tools.kernel_time` estimates their
hours there. `final_cpu` needs a run before it, whose command is in docs/usage.md. The settings from scratch are those
that gained something on a validation fold (LOG.md); those of `final_pretrained` are not measured. The ensembles, which
are meant to be submitted, give copies of training images their labels; the single networks show what a network reaches.
"""

from src.config import Augment, Member, Recipe
from src.recipe_builders import single

# fmt: off

AUGMENT = Augment(
    rotation=12, flip=0.5, shift=0.1, scale=0.15, shear=5, brightness=0.25, contrast=0.25,
    erase=0.25, erase_max_area=0.2,
)
SCRATCH = {
    "optimizer": "sgd", "lr": 0.1, "batch_size": 128, "weight_decay": 5e-4, "weight_decay_on": "weights",
    "schedule": "cosine", "warmup_fraction": 0.05, "ema": 0.999, "tta": "ten", "augment": AUGMENT,
}

BEST_SINGLE_CPU = single(
    "best_single_cpu", "one network from scratch in at most 3 hours on two CPU cores",
    network="face_vgg_m", epochs=100, **SCRATCH,
)
BEST_SINGLE = single(
    "best_single", "one larger network from scratch on a GPU",
    network="face_vgg_l", epochs=120, **SCRATCH,
)


def each(epochs: int, *networks: str, **changes) -> tuple[Member, ...]:
    """A member for each network, with the network's name."""
    return tuple(Member(name, network=name, epochs=epochs, **SCRATCH | changes) for name in networks)


FINAL_CPU = Recipe(
    "final_cpu", "two networks on five folds, for two CPU cores; they also learn what output/teachers predicted",
    members=each(80, "face_resnet_s", "face_vgg_m", soft_targets="output/teachers"), fold="all", copies="labelled+near",
)
FINAL = Recipe(
    "final", "three networks from scratch, each on five folds with two seeds, on a kernel's two T4 GPUs",
    members=each(120, "face_vgg_l", "face_resnet_l", "resnet18_48"), fold="all", seeds="0,1", copies="labelled+near",
)

# ------------------------------------------------------------------------------------------ pretrained weights

FINE_TUNING = {
    "normalization": "pretrained", "pretrained": "auto", "image_size": 224, "optimizer": "adamw", "lr": 5e-4,
    "weight_decay": 0.05, "layer_decay": 0.8, "schedule": "cosine", "warmup_fraction": 0.1, "batch_size": 64,
    "epochs": 25, "ema": 0.999, "tta": "flip", "augment": AUGMENT,
}
BACKBONES = {
    "resnet34": "timm:resnet34.a1_in1k", "convnext_nano": "timm:convnext_nano.in12k_ft_in1k",
    "densenet121": "timm:densenet121.ra_in1k", "seresnet50": "timm:seresnet50.ra2_in1k",
}
FINAL_PRETRAINED = Recipe(
    "final_pretrained", "eight networks of four families from ImageNet weights, attached to the kernel",
    members=tuple(
        Member(f"{name}_{seed}", network=network, seed=seed, **FINE_TUNING)
        for seed in range(2) for name, network in BACKBONES.items()
    ),
    copies="labelled+near",
)
LITE0 = {
    "network": "timm:tf_efficientnet_lite0", "normalization": "pretrained", "image_size": 96, "epochs": 6,
    "batch_size": 64, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "schedule": "one_cycle",
    "warmup_fraction": 0.2, "label_smoothing": 0.1, "ema": 0.998, "tta": "flip",
    "augment": Augment(rotation=10, flip=0.5, shift=0.08, scale=0.1, brightness=0.2, contrast=0.2),
}
PRETRAINED_LITE0 = single(
    "pretrained_lite0", "EfficientNet-Lite0 from ImageNet weights: to compare with `scratch_lite0`",
    pretrained="auto", **LITE0,
)
SCRATCH_LITE0 = single("scratch_lite0", "the same network and epochs from random weights", **LITE0)

FACE_RECIPES = (
    BEST_SINGLE_CPU, FINAL_CPU, BEST_SINGLE, FINAL, FINAL_PRETRAINED, PRETRAINED_LITE0, SCRATCH_LITE0,
)

# fmt: on
