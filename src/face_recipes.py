"""The recipes for a high accuracy: from scratch with the networks for 48x48 faces, and from pretrained weights.

`..._cpu` are for two CPU cores, the others for a kernel's two T4 GPUs. `python -m tools.kernel_time` estimates their
hours there. The settings follow what helped on CIFAR and on faces; LOG.md has what each ingredient is worth here.
"""

from dataclasses import replace

from src.config import Augment, Member, Recipe
from src.recipe_builders import single

# fmt: off

AUGMENT = Augment(rotation=12, flip=0.5, shift=0.1, scale=0.15, shear=5, brightness=0.25, contrast=0.25)
ERASE = replace(AUGMENT, erase=0.25, erase_max_area=0.2)
SGD = {
    "optimizer": "sgd", "lr": 0.1, "batch_size": 128, "weight_decay": 5e-4, "weight_decay_on": "weights",
    "schedule": "cosine", "warmup_fraction": 0.05,
}
TARGETS = {"label_smoothing": 0.1, "mixup": 0.4, "mix_probability": 0.7, "mix_off_fraction": 0.1}
SCRATCH = {**SGD, **TARGETS, "ema": 0.999, "tta": "ten", "augment": ERASE}
GPU = SCRATCH | {"batch_size": 256, "lr": 0.2, "ema": 0.998}  # as many images per unit of the rate and of the average

ABLATION = single(
    "ablation", "a small network for short experiments with one ingredient, 16 minutes on one CPU core",
    network="face_vgg_s", epochs=20, **SCRATCH | {"tta": "flip", "augment": AUGMENT},
)
BEST_SINGLE_CPU = single(
    "best_single_cpu", "one network from scratch in at most 3 hours on two CPU cores",
    network="face_resnet_m", epochs=75, **SCRATCH,
)
BEST_SINGLE = single(
    "best_single", "one network from scratch on a GPU",
    network="face_resnet_l", epochs=200, **GPU,
)


def copies(network: str, settings: dict, preprocessings: str = "none", first: int = 0) -> list[Member]:
    """A member `<network>_<n>` for each word of `preprocessings`, with the seed n, counted from `first`."""
    return [
        Member(f"{network}_{n}", network=network, seed=n, preprocessing=preprocessing, **settings)
        for n, preprocessing in enumerate(preprocessings.split(), first)
    ]


def alternating(name: str, description: str, *groups: list[Member]) -> Recipe:
    """An ensemble whose members come from each group in turn: a run that ends early has members of all of them."""
    longest = max(map(len, groups))
    return Recipe(name, description, members=tuple(g[n] for n in range(longest) for g in groups if n < len(g)))


FINAL_CPU = alternating(
    "final_cpu", "ten networks of two families from scratch on two CPU cores, in as many starts as it takes",
    copies("face_resnet_m", SCRATCH | {"epochs": 60}, "none standardize"),
    copies("face_vgg_m", SCRATCH | {"epochs": 80}, "equalize none standardize none"),
    copies("face_resnet_s", SCRATCH | {"epochs": 70}, "standardize none equalize none"),
)
LONG = GPU | {"epochs": 160}
LONG_CUTMIX = LONG | {"cutmix": 1.0, "cutmix_share": 0.3}
FINAL = alternating(
    "final", "twenty networks of three families from scratch on a kernel's two T4 GPUs",
    [
        *copies("face_resnet_l", LONG, "none standardize none standardize"),
        *copies("face_resnet_l", LONG_CUTMIX, "none standardize none standardize", 4),
    ],
    [
        *copies("face_vgg_l", LONG, "equalize none equalize none"),
        *copies("face_vgg_l", LONG_CUTMIX, "equalize none", 4),
    ],
    copies("resnet18_48", LONG, "none standardize equalize none"),
    [replace(m, name=f"{m.name}_64px") for m in copies("face_resnet_l", LONG | {"image_size": 64}, "none none", 8)],
)

# ------------------------------------------------------------------------------------------ pretrained weights

FINE_TUNING = {
    "normalization": "pretrained", "pretrained": "auto", "image_size": 224, "optimizer": "adamw", "lr": 5e-4,
    "weight_decay": 0.05, "layer_decay": 0.8, "schedule": "cosine", "warmup_fraction": 0.1, "batch_size": 64,
    "epochs": 25, "label_smoothing": 0.1, "mixup": 0.2, "mix_probability": 0.5, "ema": 0.999, "tta": "flip",
    "augment": ERASE,
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
    BEST_SINGLE_CPU, FINAL_CPU, BEST_SINGLE, FINAL, FINAL_PRETRAINED, PRETRAINED_LITE0, SCRATCH_LITE0, ABLATION,
)

# fmt: on
