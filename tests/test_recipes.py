"""The recipes: those of the reference notebooks have the notebooks' settings, and all can be made, printed and set."""

import pytest

from src import models, recipes
from src.config import as_dict, keys, override
from src.errors import UserError

OFF = dict.fromkeys(("rotation", "flip", "shift", "scale", "shear", "brightness", "contrast", "erase"), 0)
FULL = {
    "rotation": 15,
    "flip": 0.5,
    "shift": 0.1,
    "scale": 0.1,
    "shear": 10,
    "brightness": 0.2,
    "contrast": 0.2,
    "erase": 0.1,
}

# What all notebooks have in common: cross-entropy, batches of 64, Adam, nothing at prediction time.
COMMON = {
    "dropout": None,
    "batch": 64,
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0,
    "schedule": "constant",
    "warmup": 0,
    "patience": 0,
    "balance": "none",
    "label_smoothing": 0,
    "ema": 0,
    "views": "plain",
    "seed": 0,
    "augment": OFF,
}
V2 = {
    "network": "simple_cnn_v2",
    "augment": FULL,
    "lr": 5e-4,
    "weight_decay": 1e-4,
    "schedule": "plateau",
    "lr_factor": 0.5,
    "lr_patience": 3,
    "epochs": 20,
    "patience": 7,
}
V3 = V2 | {"optimizer": "adamw"}
REFERENCE = {
    "simple_cnn_v0": {"network": "simple_cnn_v0", "epochs": 100},
    "simple_cnn_v1": {"network": "simple_cnn_v1", "epochs": 30, "patience": 5},
    "simple_cnn_v2": V2,
    "simple_cnn_v3": V3 | {"balance": "weights+sampler"},
    "simple_cnn_v3_weighted": V3 | {"balance": "weights"},
    "simple_cnn_v3_sampler": V3 | {"balance": "sampler"},
}
PUBLISHED = {
    "simple_cnn_v0": "val 100 at epoch 13",
    "simple_cnn_v1": "train 83.87, val 57.66",
    "simple_cnn_v2": "train 55.08, val 57.89, best val 59.11",
    "simple_cnn_v3": "train 14.08, val 1.76",
    "simple_cnn_v3_weighted": "",
    "simple_cnn_v3_sampler": "",
}


def rows(text: str) -> list[list[str]]:
    """The cells of an aligned table, without its head; columns are two spaces apart."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()[1:]]


@pytest.mark.parametrize("name", REFERENCE)
def test_a_reference_recipe_has_the_notebooks_settings(name):
    recipe = recipes.get(name)
    (member,) = recipe.members
    expected = COMMON | REFERENCE[name]
    assert {key: value for key, value in as_dict(member).items() if key in expected} == expected


@pytest.mark.parametrize("name", REFERENCE)
def test_a_reference_recipe_holds_out_a_fifth_but_v0_trains_and_validates_on_200_images(name):
    recipe = recipes.get(name)
    assert (recipe.folds, recipe.fold) == (5, 0)
    assert (recipe.valid, recipe.rows) == (("train", 200) if name == "simple_cnn_v0" else ("fold", None))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_reference_recipe_quotes_what_was_published(name):
    assert recipes.get(name).published == PUBLISHED[name]


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_bears_its_name_and_one_line_about_it(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipe.about and "\n" not in recipe.about + recipe.published


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_networks_of_a_recipe_exist(name):
    assert {member.network for member in recipes.get(name).members} <= set(models.names())


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_of_one_member_gives_it_its_name(name):
    recipe = recipes.get(name)
    if len(recipe.members) == 1:
        assert recipe.members[0].name == name
    else:
        assert name not in [member.name for member in recipe.members]


def test_class_weights_and_sampler_together_are_in_no_recipe_but_the_one_that_shows_their_failure():
    both = {r.name for r in recipes.RECIPES.values() if any(m.balance == "weights+sampler" for m in r.members)}
    assert both == {"simple_cnn_v3"}


@pytest.mark.parametrize(
    ("typo", "right"),
    [("simple_cnn_v3_weigthed", "simple_cnn_v3_weighted"), ("qick", "quick"), ("Baseline", "baseline")],
)
def test_a_typo_names_the_nearest_recipe(typo, right):
    with pytest.raises(UserError, match=rf"{typo}: no such recipe; did you mean {right}\?"):
        recipes.get(typo)


def test_a_name_that_is_like_none_names_none():
    with pytest.raises(UserError, match=r"^zzzz: no such recipe \(`recipes` lists them\)$"):
        recipes.get("zzzz")


def test_the_table_has_a_line_for_each_recipe_in_order():
    expected = []
    for recipe in recipes.RECIPES.values():
        most = sorted({m.epochs for m in recipe.members})
        epochs = str(most[0]) if len(most) == 1 else f"{most[0]}-{most[-1]}"
        expected.append([recipe.name, str(len(recipe.members)), epochs, recipe.published or "-", recipe.about])
    assert rows(recipes.table()) == expected


def test_epochs_is_a_range_where_the_members_differ():
    quick = override(recipes.get("quick"), ["compact_cnn.epochs=4", "simple_cnn_v2.epochs=6"])
    assert recipes.epochs(quick) == "4-6"
    assert recipes.epochs(override(quick, ["epochs=5"])) == "5"


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_settings_hold_every_key_with_a_value_that_can_be_set(name):
    recipe = recipes.get(name)
    listed = [(row[0], row[1]) for row in rows(recipes.settings(recipe))]
    several = len(recipe.members) > 1
    prefix = tuple(f"{m.name}." for m in recipe.members)
    of_recipe = {key for key in keys(recipe) if hasattr(recipe, key)}
    of_members = {key for key in keys(recipe) if key.startswith(prefix) == several} - of_recipe
    assert {key for key, _ in listed} == of_recipe | of_members
    assert override(recipe, [f"{key}={value}" for key, value in listed]) == recipe


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_no_key_stands_twice_in_the_settings(name):
    listed = [row[0] for row in rows(recipes.settings(recipes.get(name)))]
    assert len(set(listed)) == len(listed)


def test_the_settings_follow_an_override():
    changed = override(recipes.get("quick"), ["simple_cnn_v2.lr=0.0123", "folds=9"])
    listed = {row[0]: row[1] for row in rows(recipes.settings(changed))}
    assert listed["simple_cnn_v2.lr"] == "0.0123" and listed["folds"] == "9"
    assert listed["compact_cnn.lr"] == "0.003"


def test_columns_are_as_wide_as_their_widest_cell():
    assert recipes.aligned([("a", "bb", "c"), ("ddd", "e", "")]) == "a    bb  c\nddd  e"
