"""How recipes are written: one member, a change of another recipe's member, several members as an ensemble."""

from dataclasses import replace

from src.config import Member, Recipe


def single(name: str, description: str, published: str = "", *, valid="fold", max_train_rows=None, **member) -> Recipe:
    """A recipe of one member with the recipe's name."""
    return Recipe(name, description, published, (Member(name, **member),), valid=valid, max_train_rows=max_train_rows)


def varied(base: Recipe, name: str, description: str, published: str = "", **changes) -> Recipe:
    """A recipe of one member that differs from another's in some settings."""
    members = (replace(base.members[0], name=name, **changes),)
    return replace(base, name=name, description=description, published=published, members=members)


def together(name: str, description: str, *recipes: Recipe) -> Recipe:
    """The members of several recipes as one ensemble."""
    return Recipe(name, description, members=tuple(member for recipe in recipes for member in recipe.members))
