"""The tables for people: every recipe with its size and cost, every setting with what it means."""

import pytest
import torchvision

from src import recipe_table, recipes
from src.config import keys, override


def rows(text: str) -> list[list[str]]:
    """The cells of an aligned table, without its head and what follows it; columns are two spaces apart."""
    lines = text.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


@pytest.fixture(scope="module")
def table() -> dict[str, list[str]]:
    return {row[0]: row for row in rows(recipe_table.recipes_table())}


def test_the_table_has_a_line_for_each_recipe_in_order_with_every_column(table):
    assert list(table) == list(recipes.RECIPES)
    assert {len(row) for row in table.values()} == {len(recipe_table.HEAD)}


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_line_says_what_was_published_and_what_the_recipe_is(table, name):
    recipe = recipes.get(name)
    assert table[name][6:] == [recipe.published or "-", recipe.description]


def test_an_ensembles_line_sums_its_members_and_spans_their_sides_and_epochs(table):
    members = [table[m.name] for m in recipes.get("notebook_ensemble").members]
    line = table["notebook_ensemble"]
    assert line[1] == "5 families" and line[4:6] == ["48-224", "20-50"]
    assert int(line[2].replace(",", "")) == sum(int(row[2].replace(",", "")) for row in members)
    assert int(line[3].replace(",", "")) == pytest.approx(sum(int(row[3].replace(",", "")) for row in members), abs=3)


def conv(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Multiplications and additions of a convolution whose maps have that side."""
    return 2 * inputs * outputs * kernel**2 * side**2


def linear(inputs: int, outputs: int) -> int:
    return 2 * inputs * outputs


def attention_by_hand() -> int:
    """Three blocks, of which the channel attention's MLP runs twice, and the head."""
    total = linear(128, 256) + linear(256, 7)
    for inputs, width, side in ((1, 32, 48), (32, 64, 24), (64, 128, 12)):
        total += conv(inputs, width, 3, side) + conv(width, width, 3, side)
        total += 2 * 2 * linear(width, width // 16) + conv(2, 1, 7, side // 2)
    return total


def vit_by_hand() -> int:
    """196 patches and the class token through 12 blocks: four projections' worth of attention, products of queries with
    keys and of weights with values, an MLP four times as wide."""
    tokens, width = 197, 192
    block = tokens * (linear(width, 3 * width) + linear(width, width) + 2 * linear(width, 4 * width))
    return 196 * linear(256, width) + 12 * (block + 2 * 2 * tokens**2 * width) + linear(width, 7)


BY_HAND = {
    "simple_cnn_v0": conv(1, 64, 3, 48) + linear(64 * 24**2, 128) + linear(128, 7),
    "simple_cnn_v2": conv(1, 32, 5, 48) + conv(32, 64, 5, 24) + linear(64 * 12**2, 128) + linear(128, 7),
    "deep_cnn_v1": conv(1, 32, 3, 48)
    + conv(32, 64, 3, 24)
    + conv(64, 128, 3, 12)
    + conv(128, 256, 3, 6)
    + linear(256, 512)
    + linear(512, 7),
    "attention_cnn": attention_by_hand(),
    "vit": vit_by_hand(),
}


@pytest.mark.parametrize("network", BY_HAND)
def test_the_cost_of_a_network_is_the_one_computed_by_hand(network):
    assert recipe_table.network_cost(network).flop == BY_HAND[network]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("simple_cnn_v0", ["simple_cnn", "4,720,263", "12", "48", "100"]),
        ("simple_cnn_v3", ["simple_cnn", "1,232,967", "65", "48", "20"]),
        ("attention_cnn_v2", ["attention_cnn", "325,886", None, "48", "20"]),
        ("vit", ["vit", "5,427,463", None, "224", "20"]),
        ("mobilevit_xxs", ["mobilevit", "952,983", None, "64", "50"]),
        ("quick", ["2 families", "1,872,046", None, "48", "6"]),
    ],
)
def test_a_line_has_family_parameters_cost_side_and_epochs(table, name, cells):
    line = table[name][1:6]
    assert [line[0], line[1], *line[3:]] == [cells[0], cells[1], *cells[3:]]
    network = recipes.get(name).members[0].network
    assert cells[2] in (None, line[2])
    assert network not in BY_HAND or line[2] == f"{BY_HAND[network] / 1e6:,.0f}"


@pytest.mark.parametrize("layers", [18, 34, 50])
def test_the_cost_of_a_resnet_at_224_is_torchvisions_but_for_two_channels_and_993_classes(layers):
    """Theirs counts a multiplication with an addition as one, in units of 10^9."""
    theirs = 2e9 * torchvision.models.get_model_weights(f"resnet{layers}").IMAGENET1K_V1.meta["_ops"]
    less = conv(2, 64, 7, 112) + linear(2048 if layers == 50 else 512, 993)
    assert recipe_table.network_cost(f"resnet{layers}", 224).flop == pytest.approx(theirs - less, rel=1e-3)


def test_another_size_is_another_cost_and_input():
    small, large = recipe_table.network_cost("resnet18", 96), recipe_table.network_cost("resnet18", 192)
    assert (small.image_size, large.image_size) == (96, 192) and small.parameters == large.parameters
    assert large.flop == pytest.approx(4 * small.flop, rel=0.01)


def test_epochs_are_a_span_where_the_members_differ():
    quick = override(recipes.get("quick"), ["compact_cnn.epochs=4", "simple_cnn_v2.epochs=6"])
    assert recipe_table.row(quick)[5] == "4-6"
    assert recipe_table.row(override(quick, ["epochs=5"]))[5] == "5"


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_settings_hold_every_key_with_a_value_that_can_be_set(name):
    recipe = recipes.get(name)
    listed = [(row[0], row[1]) for row in rows(recipe_table.settings_table(recipe))]
    several = len(recipe.members) > 1
    prefix = tuple(f"{m.name}." for m in recipe.members)
    of_recipe = {key for key in keys(recipe) if hasattr(recipe, key)}
    of_members = {key for key in keys(recipe) if key.startswith(prefix) == several} - of_recipe
    assert {key for key, _ in listed} == of_recipe | of_members
    assert override(recipe, [f"{key}={value}" for key, value in listed]) == recipe


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_no_key_stands_twice_in_the_settings(name):
    listed = [row[0] for row in rows(recipe_table.settings_table(recipes.get(name)))]
    assert len(set(listed)) == len(listed)


def test_the_settings_follow_an_override():
    changed = override(recipes.get("quick"), ["simple_cnn_v2.lr=0.0123", "folds=9"])
    listed = {row[0]: row[1] for row in rows(recipe_table.settings_table(changed))}
    assert listed["simple_cnn_v2.lr"] == "0.0123" and listed["folds"] == "9"
    assert listed["compact_cnn.lr"] == "0.003"


def test_columns_are_as_wide_as_their_widest_cell():
    assert recipe_table.aligned([("a", "bb", "c"), ("ddd", "e", "")]) == "a    bb  c\nddd  e"
