"""The recipes: those of the reference notebooks have the notebooks' settings, and all of them can be found and made."""

import pytest

from src import models, recipes
from src.config import Augment, Member, as_dict
from src.contradictions import contradictions
from src.errors import UserError

# fmt: off
OFF = as_dict(Augment())
LIGHT = OFF | {"rotation": 15, "flip": 0.5}
SHIFTED = LIGHT | {"shift": 0.1}
FULL = SHIFTED | {"scale": 0.1, "shear": 10, "brightness": 0.2, "contrast": 0.2, "erase": 0.1}

# What all notebooks have in common: cross-entropy, batches of 64, Adam, no test-time augmentation; and what they do not
# say: the network's native size, from scratch, with one learning rate for all layers.
COMMON = {
    "dropout": None, "batch_size": 64, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0, "schedule": "constant",
    "warmup_fraction": 0, "early_stopping_patience": 0, "class_balancing": "none", "label_smoothing": 0, "ema": 0,
    "tta": "none", "seed": 0, "augment": OFF,
    "image_size": None, "initial_image_size": 48, "resize_fraction": 0, "normalization": "dataset",
    "pretrained": "none", "freeze_epochs": 0, "layer_decay": 1.0, "cosine_epochs": 0, "lr_factor": 0.5,
    "lr_patience": 3, "momentum": 0.9,
}
V2 = {
    "network": "simple_cnn_v2", "augment": SHIFTED, "lr": 5e-4, "weight_decay": 1e-4, "schedule": "plateau",
    "lr_factor": 0.5, "lr_patience": 3, "epochs": 20, "early_stopping_patience": 7,
}
V3 = V2 | {"optimizer": "adamw"}
# What the notebooks say of each; `LEFT_OPEN` is what they do not say, and is the same in all recipes.
DEEP_V2 = {"network": "deep_cnn_v2", "weight_decay": 1e-4, "schedule": "plateau", "lr_patience": 3, "epochs": 30}
ATTENTION = {
    "network": "attention_cnn", "optimizer": "adamw", "weight_decay": 1e-4, "schedule": "plateau", "augment": LIGHT,
    "epochs": 50, "early_stopping_patience": 7,
}
SMOOTHED = ATTENTION | {"dropout": 0.3, "lr": 3e-4, "weight_decay": 5e-4, "label_smoothing": 0.1}
LEFT_OPEN = {"epochs": 40, "early_stopping_patience": 7, "schedule": "plateau", "augment": FULL}
REFERENCE = {
    "simple_cnn_v0": {"network": "simple_cnn_v0", "epochs": 100},
    "simple_cnn_v1": {"network": "simple_cnn_v1", "epochs": 30, "early_stopping_patience": 5},
    "simple_cnn_v2": V2,
    "simple_cnn_v3": V3 | {"class_balancing": "weights+sampler"},
    "simple_cnn_v3_weighted": V3 | {"class_balancing": "weights"},
    "simple_cnn_v3_sampler": V3 | {"class_balancing": "sampler"},
    "deep_cnn_v1": LEFT_OPEN | {"network": "deep_cnn_v1", "weight_decay": 1e-4, "augment": OFF},
    "deep_cnn_v2": DEEP_V2 | {"early_stopping_patience": 5},
    "deep_cnn_v3": DEEP_V2 | {"early_stopping_patience": 5, "augment": FULL},
    "attention_cnn_v1": ATTENTION,
    "attention_cnn_v2": ATTENTION | {"epochs": 20, "batch_size": 128, "lr": 5e-4},
    "attention_cnn_v3": SMOOTHED | {"schedule": "cosine", "cosine_epochs": 10},
    "attention_cnn_v4": SMOOTHED | {"epochs": 30},
    "resnet18_adam": LEFT_OPEN | {"network": "resnet18", "weight_decay": 1e-4, "dropout": 0.3},
    "resnet18_sgd": LEFT_OPEN
    | {"network": "resnet18", "optimizer": "sgd", "lr": 1e-2, "batch_size": 32, "dropout": 0.5},
    "resnet34_adam": LEFT_OPEN | {"network": "resnet34", "dropout": 0.3},
    "resnet34_adamw": LEFT_OPEN
    | {"network": "resnet34", "optimizer": "adamw", "lr": 5e-4, "weight_decay": 1e-3, "dropout": 0.4},
    "resnet50_adam": LEFT_OPEN | {"network": "resnet50", "batch_size": 32, "weight_decay": 1e-4, "dropout": 0.5},
    "vit": {
        "network": "vit", "optimizer": "adamw", "lr": 2e-5, "weight_decay": 1e-4, "schedule": "cosine",
        "warmup_fraction": 0.1, "batch_size": 128, "epochs": 20, "normalization": "pretrained", "pretrained": "auto",
        "augment": LIGHT | {"brightness": 0.2, "contrast": 0.2},
    },
    "mobilevit_xxs": ATTENTION
    | {"network": "mobilevit_xxs", "normalization": "pretrained", "pretrained": "auto", "augment": FULL},
}
# fmt: on


@pytest.mark.parametrize("name", REFERENCE)
def test_a_reference_recipe_has_the_notebooks_settings(name):
    recipe = recipes.get(name)
    (member,) = recipe.members
    expected = as_dict(Member(name)) | COMMON | REFERENCE[name]
    assert as_dict(member) == expected
    assert (recipe.folds, recipe.fold) == (5, 0)
    assert (recipe.valid, recipe.max_train_rows) == (("train", 200) if name == "simple_cnn_v0" else ("fold", None))


def test_the_notebooks_ensemble_has_the_members_of_the_recipes_that_they_chose():
    members = recipes.get("notebook_ensemble").members
    chosen = ("resnet18_adam", "resnet34_adamw", "attention_cnn_v2", "vit", "simple_cnn_v2", "mobilevit_xxs")
    assert members == tuple(recipes.get(name).members[0] for name in chosen)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_has_its_name_one_line_of_description_and_networks_that_exist(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipe.description and "\n" not in recipe.description + recipe.published
    assert all(models.native_image_size(member.network) for member in recipe.members)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_what_a_recipe_sets_has_an_effect(name):
    recipe = recipes.get(name)
    defaults = as_dict(Member("default"))
    for member in recipe.members:
        changed = [f"{member.name}.{key}=" for key, value in as_dict(member).items() if value != defaults[key]]
        assert not list(contradictions(recipe, [c for c in changed if c.split(".")[-1] not in ("name=", "augment=")]))


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_typo_names_the_nearest_recipe(name):
    with pytest.raises(UserError, match=rf"{name}_: no such recipe; did you mean {name}\?"):
        recipes.get(f"{name}_")


def test_a_name_that_is_like_none_names_none():
    with pytest.raises(UserError, match=r"^zzzz: no such recipe \(`recipes` lists them\)$"):
        recipes.get("zzzz")
