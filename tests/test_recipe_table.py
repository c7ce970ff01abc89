"""The tables of the command line: every recipe with its size and cost, and every setting with its meaning."""

from dataclasses import replace

import pytest
import torchvision

from src import recipe_table, recipes
from src.config import Augment, Member, Recipe, override, settable_fields


def cells(line: str) -> list[str]:
    """The cells of a line of an aligned table; columns are two spaces apart."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@pytest.fixture(scope="module")
def text() -> str:
    return recipe_table.recipes_table()


@pytest.fixture(scope="module")
def entries(text) -> dict[str, tuple[list[str], str]]:
    """By the recipe's name: the cells of its line, and the text below it."""
    entries: dict[str, tuple[list[str], str]] = {}
    for line in text.split("\n\n")[0].splitlines()[1:]:
        if line.startswith(" "):
            name = list(entries)[-1]
            entries[name] = entries[name][0], f"{entries[name][1]} {line.strip()}".strip()
        else:
            entries[cells(line)[0]] = cells(line), ""
    return entries


def test_the_table_has_an_entry_for_each_recipe_in_order_within_79_columns(entries, text):
    assert list(entries) == list(recipes.RECIPES)
    assert {len(row) for row, _ in entries.values()} == {len(recipe_table.HEAD)}
    assert max(map(len, text.splitlines())) <= 79


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_an_entry_sums_the_members_costs_and_has_their_sizes_epochs_and_texts(entries, name):
    recipe, (line, below) = recipes.get(name), entries[name]
    costs = [recipe_table.network_cost(member.network, member.image_size) for member in recipe.members]
    families = {cost.family for cost in costs}
    assert line[1] == (families.pop() if len(families) == 1 else f"{len(families)} families")
    assert int(line[2].replace(",", "")) == sum(cost.parameters for cost in costs)
    assert int(line[3].replace(",", "")) == round(sum(cost.flop for cost in costs) / 1e6)
    for cell, values in ((line[4], [c.image_size for c in costs]), (line[5], [m.epochs for m in recipe.members])):
        assert [int(value) for value in cell.split("-")] == sorted({min(values), max(values)})
    assert below == recipe.description + (f"; published, %: {recipe.published}" if recipe.published else "")


# ------------------------------------------------------------------------------------------- the cost


def conv(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Operations of a convolution whose maps have that size."""
    return 2 * inputs * outputs * kernel**2 * side**2


def linear(inputs: int, outputs: int) -> int:
    return 2 * inputs * outputs


def attention_by_hand() -> int:
    """Three blocks, whose channel attention applies its MLP twice, and the head."""
    total = linear(128, 256) + linear(256, 7)
    for inputs, width, side in ((1, 32, 48), (32, 64, 24), (64, 128, 12)):
        total += conv(inputs, width, 3, side) + conv(width, width, 3, side)
        total += 2 * 2 * linear(width, width // 16) + conv(2, 1, 7, side // 2)
    return total


def vit_by_hand() -> int:
    """196 patches and the class token through 12 blocks of attention and an MLP four times as wide."""
    tokens, width = 197, 192
    block = tokens * (linear(width, 3 * width) + linear(width, width) + 2 * linear(width, 4 * width))
    return 196 * linear(256, width) + 12 * (block + 2 * 2 * tokens**2 * width) + linear(width, 7)


BY_HAND = {
    "simple_cnn_v0": (conv(1, 64, 3, 48) + linear(64 * 24**2, 128) + linear(128, 7), 4_720_263, 48, "simple_cnn"),
    "attention_cnn": (attention_by_hand(), 325_886, 48, "attention_cnn"),
    "vit": (vit_by_hand(), 5_427_463, 224, "vit"),
}


@pytest.mark.parametrize("network", BY_HAND)
def test_the_cost_of_a_network_is_the_one_computed_by_hand(network):
    cost = recipe_table.network_cost(network)
    assert (cost.flop, cost.parameters, cost.image_size, cost.family) == BY_HAND[network]


def test_the_cost_of_a_resnet_at_224_is_torchvisions_without_two_channels_and_993_classes():
    """Theirs counts a multiplication with an addition as one, in units of 10^9."""
    theirs = 2e9 * torchvision.models.get_model_weights("resnet50").IMAGENET1K_V1.meta["_ops"]
    less = conv(2, 64, 7, 112) + linear(2048, 993)
    cost = recipe_table.network_cost("resnet50", 224)
    assert cost.flop == pytest.approx(theirs - less, rel=1e-3) and cost.image_size == 224


# ---------------------------------------------------------------------------------------- the settings


def sections(recipe: Recipe) -> dict[str, list[list[str]]]:
    """By the heading of each group of settings: key, value and the beginning of the meaning of each."""
    found = {}
    for part in recipe_table.settings_table(recipe).split("\n\n")[1:]:
        title, *lines = part.splitlines()
        found[title] = [cells(line) for line in lines if not line.startswith("   ")]
    return found


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_settings_alone_make_the_recipe_out_of_the_defaults(name):
    recipe = recipes.get(name)
    listed = [row[:2] for rows in sections(recipe).values() for row in rows]
    defaults = Recipe(name=name, members=tuple(Member(name=member.name) for member in recipe.members))
    made = override(defaults, [f"{key}={value}" for key, value in listed])
    assert replace(made, description=recipe.description, published=recipe.published) == recipe
    of_members = {key.removeprefix(f"{m.name}.") for m in recipe.members for key, _ in listed}
    assert of_members >= {*settable_fields(Recipe), *settable_fields(Member)}
    assert of_members >= {f"augment.{key}" for key in settable_fields(Augment)}
    assert len({key for key, _ in listed}) == len(listed)
    assert max(map(len, recipe_table.settings_table(recipe).splitlines())) <= 79


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_what_differs_from_the_defaults_comes_first_and_the_rest_is_in_groups(name):
    found = sections(recipes.get(name))
    titles = list(found)
    different = [title for title in titles if title.endswith("differs from the defaults")]
    assert titles[: len(different)] == different != [] and set(titles[len(different) :]) >= {"training", "augmentation"}
    defaults = override(Recipe(name="r", members=(Member(name="m"),)), [])
    for title in titles:
        for key, value, *_ in found[title]:
            key = key.split(".", 1)[1] if key.split(".")[0] in [m.name for m in recipes.get(name).members] else key
            alone = override(defaults, [f"{'m.' if key == 'seed' else ''}{key}={value}"])
            assert (alone != defaults) == (title in different), (title, key)


def test_the_settings_follow_an_override():
    found = sections(override(recipes.get("quick"), ["simple_cnn_v2.lr=0.0123", "folds=9", "compact_cnn.lr=0.001"]))
    assert found["simple_cnn_v2 differs from the defaults"][1][:2] == ["simple_cnn_v2.lr", "0.0123"]
    assert found["differs from the defaults"][0][:2] == ["folds", "9"]
    assert ["lr", "0.001"] in [row[:2] for row in found["training"]]
