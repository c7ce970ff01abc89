"""Tables for the command line: all recipes, and all settings of one recipe."""

import textwrap
from dataclasses import Field, dataclass, fields
from functools import cache

from src.config import Augment, Member, Recipe, settable_fields
from src.dataset import IMAGE_SIZE
from src.recipe_changes import shown
from src.recipes import RECIPES
from src.terminal import WIDTH, aligned, wrap

HEAD = ("recipe", "family", "parameters", "MFLOP", "input", "epochs")
NOTE = "MFLOP: one forward pass for one image; a multiplication and an addition count as two operations."
DIFFERENT = "differs from the defaults"
GROUPS = {  # the headings of the settings, by the first one of each group in the order of src/config.py
    "folds": "data and run",
    "network": "network and its weights",
    "epochs": "training",
    "tta": "prediction",
    "rotation": "augmentation",
}


def recipes_table() -> str:
    """The figures of each recipe in a line, and below it what it is and what was published of it, in per cent.

    Parameters and MFLOP of an ensemble are the sums over its members.
    """
    head, *lines = aligned([HEAD, *map(row, RECIPES.values())]).split("\n")
    entries = [f"{line}\n{described(recipe)}" for line, recipe in zip(lines, RECIPES.values(), strict=True)]
    return "\n".join([head, *entries, "", wrap(NOTE)])


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
    )


def described(recipe: Recipe) -> str:
    """What a recipe is and what was published of it, indented."""
    return wrap(f"    {recipe.description}{f'; published, %: {recipe.published}' if recipe.published else ''}")


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


@dataclass(frozen=True)
class Setting:
    """A key that `--set` takes, its value, and what it means."""

    key: str
    value: object
    field: Field
    group: str
    member: str = ""  # empty: of the recipe, or of every member

    is_default = property(lambda self: self.value == self.field.default)

    @property
    def meaning(self) -> str:
        """What the setting means, its choices, and its default where the value is another one."""
        default = "" if self.is_default else f"default: {shown(self.field.default)}"
        metadata = self.field.metadata
        return "; ".join(filter(None, (metadata["help"], ", ".join(metadata["choices"] or ()), default)))


def settings_table(recipe: Recipe) -> str:
    """Every key that `--set` takes for this recipe: those that differ from the defaults first, the others in groups.

    Where a setting differs between members, the key without a name has the value of the members that are not listed.
    The members' seeds are listed for several members only: `seed` is the recipe's.
    """
    settings, sections = list_settings(recipe), {DIFFERENT: []}
    for one in sorted(settings, key=lambda one: one.is_default):
        members = f"{one.member} {DIFFERENT}" if one.member else DIFFERENT
        sections.setdefault(one.group if one.is_default else members, []).append(one)
    tables = (f"{title}\n{section(found)}" for title, found in sections.items() if found)
    return "\n\n".join([wrap(f"{recipe.name}: {recipe.description}"), *tables])


def list_settings(recipe: Recipe) -> list[Setting]:
    """The settings of a recipe, in the order of src/config.py."""
    found = [Setting(f.name, getattr(recipe, f.name), f, group) for f, group in grouped_fields(Recipe)]
    for f, group in grouped_fields(Member):
        found += settings_of_members(f, group, "", {m.name: getattr(m, f.name) for m in recipe.members})
    for f, group in grouped_fields(Augment):
        found += settings_of_members(f, group, "augment.", {m.name: getattr(m.augment, f.name) for m in recipe.members})
    return found


def settings_of_members(f: Field, group: str, prefix: str, values: dict[str, object]) -> list[Setting]:
    """One setting of all members: by its key alone, and of each member that has another value than the default."""
    key, several = f"{prefix}{f.name}", len(values) > 1
    if f.name != "seed" and len(set(values.values())) == 1:
        return [Setting(key, next(iter(values.values())), f, group)]
    if f.name == "seed":
        return [Setting(f"{name}.{key}", value, f, group, name) for name, value in values.items() if several]
    others = {name: value for name, value in values.items() if value != f.default}
    of_all = [Setting(key, f.default, f, group)] if len(others) < len(values) else []
    return of_all + [Setting(f"{name}.{key}", value, f, group, name) for name, value in others.items()]


def grouped_fields(kind: type) -> list[tuple[Field, str]]:
    """The fields of a dataclass that can be set, each with its group."""
    found, group, settable = [], "", settable_fields(kind)
    for f in (f for f in fields(kind) if f.name in settable):
        group = GROUPS.get(f.name, group)
        found.append((f, group))
    return found


def section(settings: list[Setting]) -> str:
    """Key, value and meaning in aligned columns; a longer meaning continues below itself."""
    keys, values = max(len(one.key) for one in settings), max(len(shown(one.value)) for one in settings)
    lines = []
    for one in settings:
        start = f"  {one.key:{keys}}  {shown(one.value):{values}}  "
        indent = " " * min(len(start), 60)
        lines += textwrap.wrap(start + one.meaning, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines)
