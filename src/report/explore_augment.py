"""Section of `explore`: what the training of a recipe makes of some faces."""

import dataclasses

import numpy as np
import torch

from src.config import Augment, Recipe
from src.data.augment import augment
from src.dataset import PIXEL_MEAN, PIXEL_STD
from src.report.explored import Explored
from src.report.faces import Face, FaceGrid
from src.report.page import Section

FACES, VERSIONS = 3, 7


def augment_section(found: Explored) -> Section:
    """Faces of the largest classes with versions of them, for each augmentation of the recipe."""
    counts, labels = found.class_counts, found.data.train.labels
    classes = [label for label in np.argsort(-counts, kind="stable")[:FACES] if counts[label]]
    rows = [int(np.flatnonzero(labels == label)[0]) for label in classes]
    blocks = []
    for number, (settings, members) in enumerate(augmentations(found.recipe).items()):
        changed = {key: value for key, value in dataclasses.asdict(settings).items() if value}
        if not settings.erase:
            del changed["erase_max_area"]
        words = ", ".join(f"{key} {value:g}" for key, value in changed.items())
        blocks.append(f"{', '.join(members)}: {words or 'no augmentation'}.")
        if changed:
            for row in rows:
                faces = versions(found.image(row), settings)
                blocks.append(FaceGrid(f"augmented-{number + 1}-row-{row + 1}", faces, title=f"Row {row + 1:,}"))
    text = "The first face of each row is the stored one; the others are drawn as in the training."
    return Section("Augmented faces", [f"Recipe {found.recipe.name}. {text}", *blocks])


def augmentations(recipe: Recipe) -> dict[Augment, list[str]]:
    """Each augmentation of the recipe with the members that have it."""
    found: dict[Augment, list[str]] = {}
    for member in recipe.members:
        found.setdefault(member.augment, []).append(member.name)
    return found


def versions(image: np.ndarray, settings: Augment) -> list[Face]:
    """The image, uint8 (48, 48), and VERSIONS random versions of it."""
    copies = torch.from_numpy(image.copy()).expand(VERSIONS, 1, *image.shape)
    changed = augment(copies, settings, torch.Generator().manual_seed(0)).squeeze(1)
    pixels = (changed * PIXEL_STD + PIXEL_MEAN).mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
    return [Face(image, ("stored",)), *map(Face, pixels)]
