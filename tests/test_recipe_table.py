"""The tables of the command line: every recipe with its size and cost, and every setting with its meaning."""

import pytest
import torchvision

from src import recipe_table, recipes
from src.config import keys, override


def parse_rows(text: str) -> list[list[str]]:
    """The cells of an aligned table, without its head and what follows it; columns are two spaces apart."""
    lines = text.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


@pytest.fixture(scope="module")
def recipe_rows() -> dict[str, list[str]]:
    return {row[0]: row for row in parse_rows(recipe_table.recipes_table())}


def test_the_table_has_a_line_for_each_recipe_in_order_with_every_column(recipe_rows):
    assert list(recipe_rows) == list(recipes.RECIPES)
    assert {len(row) for row in recipe_rows.values()} == {len(recipe_table.HEAD)}


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_line_sums_the_members_costs_and_has_their_sizes_epochs_and_texts(recipe_rows, name):
    recipe, line = recipes.get(name), recipe_rows[name]
    costs = [recipe_table.network_cost(member.network, member.image_size) for member in recipe.members]
    families = {cost.family for cost in costs}
    assert line[1] == (families.pop() if len(families) == 1 else f"{len(families)} families")
    assert int(line[2].replace(",", "")) == sum(cost.parameters for cost in costs)
    assert int(line[3].replace(",", "")) == round(sum(cost.flop for cost in costs) / 1e6)
    for cell, values in ((line[4], [c.image_size for c in costs]), (line[5], [m.epochs for m in recipe.members])):
        assert [int(value) for value in cell.split("-")] == sorted({min(values), max(values)})
    assert line[6:] == [recipe.published or "-", recipe.description]


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


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_settings_hold_every_key_once_with_a_value_that_can_be_set(name):
    recipe = recipes.get(name)
    listed = [(row[0], row[1]) for row in parse_rows(recipe_table.settings_table(recipe))]
    several = len(recipe.members) > 1
    prefix = tuple(f"{m.name}." for m in recipe.members)
    of_recipe = {key for key in keys(recipe) if hasattr(recipe, key)}
    of_members = {key for key in keys(recipe) if key.startswith(prefix) == several} - of_recipe
    assert sorted(key for key, _ in listed) == sorted(of_recipe | of_members)
    assert override(recipe, [f"{key}={value}" for key, value in listed]) == recipe


def test_the_settings_follow_an_override():
    changed = override(recipes.get("quick"), ["simple_cnn_v2.lr=0.0123", "folds=9"])
    listed = {row[0]: row[1] for row in parse_rows(recipe_table.settings_table(changed))}
    assert listed["simple_cnn_v2.lr"] == "0.0123" and listed["folds"] == "9"
    assert listed["compact_cnn.lr"] == "0.003"
