"""Every named recipe. To add one, add an entry to RECIPES at the end."""

from src.config import Augment, Recipe, nearest
from src.errors import UserError
from src.face_recipes import FACE_RECIPES
from src.notebook_recipes import NOTEBOOK_RECIPES
from src.recipe_builders import single, together, varied

# fmt: off

SHORT = {"epochs": 6, "batch_size": 32, "schedule": "one_cycle", "augment": Augment(flip=0.5, shift=0.05)}
QUICK = together(
    "quick", "an end-to-end run on synthetic faces, under a minute on two CPU cores",
    single("compact_cnn", "", network="compact_cnn", lr=3e-3, **SHORT),
    single("simple_cnn_v2", "", network="simple_cnn_v2", lr=1e-3, **SHORT),
)
BASELINE = single(
    "baseline", "a compact CNN with one-cycle schedule, label smoothing, weight averaging and flip TTA",
    network="compact_cnn", epochs=24, batch_size=128, optimizer="adamw", lr=3e-3, weight_decay=0.05,
    schedule="one_cycle", warmup_fraction=0.2, label_smoothing=0.1, ema=0.999, tta="flip",
    augment=Augment(rotation=10, flip=0.5, shift=0.08, scale=0.1, brightness=0.2, contrast=0.2),
)
SPRINT = varied(
    BASELINE, "sprint", "shortest time to 65.31 % on the validation fold: training starts with small images",
    epochs=24, ema=0.998, initial_image_size=36, resize_fraction=0.3,
)

BASELINE_PSEUDO_LABELS = varied(
    BASELINE, "baseline_pseudo_labels", "baseline that also learns the test images, as output/baseline predicted them",
    pseudo_labels="output/baseline",
)

RECIPES = {recipe.name: recipe for recipe in (
    QUICK, BASELINE, SPRINT, BASELINE_PSEUDO_LABELS,
    *FACE_RECIPES,
    *NOTEBOOK_RECIPES,
)}

# fmt: on


def get(name: str) -> Recipe:
    """The recipe of that name; UserError with the nearest name if there is none."""
    if name not in RECIPES:
        raise UserError(f"{name}: no such recipe{nearest(name, RECIPES)} (`recipes` lists them)")
    return RECIPES[name]
