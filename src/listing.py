"""What there is to choose from, as tables for people: the recipes, and every setting of one."""

from dataclasses import dataclass, fields
from functools import cache

from src.config import Recipe, scalar_keys
from src.dataset import IMAGE_SIZE
from src.recipes import RECIPES

HEAD = ("recipe", "family", "parameters", "MFLOP", "input", "epochs", "published, %", "what it is")
NOTE = "MFLOP: of one forward pass for one image and one view, a multiplication and an addition being two."


def table() -> str:
    """All recipes. An ensemble's parameters and MFLOP are its members' sums."""
    return f"{aligned([HEAD, *map(row, RECIPES.values())])}\n\n{NOTE}"


def row(recipe: Recipe) -> tuple[str, ...]:
    """One recipe's line of the table."""
    sizes = [size_of(member.network, member.image_size) for member in recipe.members]
    families = list(dict.fromkeys(size.family for size in sizes))
    return (
        recipe.name,
        families[0] if len(families) == 1 else f"{len(families)} families",
        f"{sum(size.parameters for size in sizes):,}",
        f"{sum(size.flop for size in sizes) / 1e6:,.0f}",
        span([size.side for size in sizes]),
        span([member.epochs for member in recipe.members]),
        recipe.published or "-",
        recipe.description,
    )


def span(values: list[int]) -> str:
    """ "30", or "4-6" where they differ."""
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}-{max(values)}"


@dataclass(frozen=True)
class Size:
    """A network's family, parameters, floating-point operations of a forward pass for one image, and input's side."""

    family: str
    parameters: int
    flop: int
    side: int


@cache
def size_of(network: str, size: int | None = None) -> Size:
    """Counts a network's size, without memory or arithmetic: on the device that has shapes alone."""
    import torch  # here, not above: the settings of a recipe can be listed without it
    from torch.utils.flop_counter import FlopCounterMode

    from src import models

    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net = models.create(network, image_size=size).eval()
        net(torch.empty(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    parameters = sum(p.numel() for p in net.parameters())
    return Size(models.family(network), parameters, counter.get_total_flops(), size or models.side(network))


def settings(recipe: Recipe) -> str:
    """Every key that `--set` takes for this recipe, with its value and what it means.

    A sole member's keys stand without its name, and without its seed: there `seed` is the recipe's.
    """
    rows, several = [("key", "value", "meaning"), *described(recipe)], len(recipe.members) > 1
    for member in recipe.members:
        name = f"{member.name}." if several else ""
        own = described(member, name) + described(member.augment, f"{name}augment.")
        rows += [row for row in own if several or row[0] != "seed"]
    return aligned(rows)


def described(config, prefix: str = "") -> list[tuple[str, str, str]]:
    """Key, value and meaning of each setting of one dataclass."""
    rows = []
    for f in fields(config):
        if f.name in scalar_keys(type(config)):
            meaning = "; ".join(filter(None, (f.metadata["help"], ", ".join(f.metadata["choices"] or ()))))
            value = getattr(config, f.name)
            rows.append((prefix + f.name, "none" if value is None else str(value), meaning))
    return rows


def aligned(rows: list[tuple]) -> str:
    """Rows of texts in columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
