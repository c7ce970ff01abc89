"""Tables for the command line: all recipes, and all settings of one recipe."""

from dataclasses import dataclass, fields
from functools import cache

from src.config import Recipe, settable_fields
from src.dataset import IMAGE_SIZE
from src.recipes import RECIPES

HEAD = ("recipe", "family", "parameters", "MFLOP", "input", "epochs", "published, %", "description")
NOTE = "MFLOP: one forward pass for one image; a multiplication and an addition count as two operations."


def recipes_table() -> str:
    """One line per recipe. Parameters and MFLOP of an ensemble are the sums over its members."""
    return f"{aligned([HEAD, *map(row, RECIPES.values())])}\n\n{NOTE}"


def row(recipe: Recipe) -> tuple[str, ...]:
    """The cells of one recipe's line."""
    costs = [network_cost(member.network, member.image_size) for member in recipe.members]
    families = list(dict.fromkeys(cost.family for cost in costs))
    return (
        recipe.name,
        families[0] if len(families) == 1 else f"{len(families)} families",
        f"{sum(cost.parameters for cost in costs):,}",
        f"{sum(cost.flop for cost in costs) / 1e6:,.0f}",
        span([cost.image_size for cost in costs]),
        span([member.epochs for member in recipe.members]),
        recipe.published or "-",
        recipe.description,
    )


def span(values: list[int]) -> str:
    """ "30", or "4-6" if they differ."""
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}-{max(values)}"


@dataclass(frozen=True)
class NetworkCost:
    """A network's family, number of parameters, floating-point operations per image, and input size in pixels."""

    family: str
    parameters: int
    flop: int
    image_size: int


@cache
def network_cost(network: str, image_size: int | None = None) -> NetworkCost:
    """Counts the cost of one forward pass on the meta device, which computes shapes only."""
    import torch  # here, not above: listing the settings of a recipe does not need it
    from torch.utils.flop_counter import FlopCounterMode

    from src import models

    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net = models.create(network, image_size=image_size).eval()
        net(torch.empty(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    parameters = sum(p.numel() for p in net.parameters())
    image_size = image_size or models.native_image_size(network)
    return NetworkCost(models.family(network), parameters, counter.get_total_flops(), image_size)


def settings_table(recipe: Recipe) -> str:
    """Every key that `--set` takes for this recipe, with its value and its meaning.

    The keys of a single member are listed without its name, and its seed is left out: `seed` is the recipe's.
    """
    rows, several = [("key", "value", "meaning"), *described(recipe)], len(recipe.members) > 1
    for member in recipe.members:
        name = f"{member.name}." if several else ""
        settings = described(member, name) + described(member.augment, f"{name}augment.")
        rows += [row for row in settings if several or row[0] != "seed"]
    return aligned(rows)


def described(config, prefix: str = "") -> list[tuple[str, str, str]]:
    """Key, value and meaning of each setting of one dataclass."""
    settable = settable_fields(type(config))
    rows = []
    for f in (f for f in fields(config) if f.name in settable):
        meaning = "; ".join(filter(None, (f.metadata["help"], ", ".join(f.metadata["choices"] or ()))))
        value = getattr(config, f.name)
        rows.append((prefix + f.name, "none" if value is None else str(value), meaning))
    return rows


def aligned(rows: list[tuple]) -> str:
    """The rows as text, in columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
