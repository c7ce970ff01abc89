"""In which settings two recipes differ, as `--set` takes them: for error messages, tables and names of folders.

Recipes are dicts here, as run.json has them: an older one lacks settings, and may have members that are no longer here.
"""

import re

from src.config import NOT_HASHED

MAX_NAME = 80  # characters of the changed settings: a folder's name has 255 at most
_MOST = 5  # differences in one line
_NOT_COMPARED = (*NOT_HASHED, "name", "seed", "members")


def changed_settings(ran: dict, named: dict) -> list[str]:
    """The settings, as `key=value`, in which a recipe that ran differs from the named one, texts and seed apart.

    A member's setting bears the member's name where only some of the members differ in it.
    """
    return [f"{key}={shown(here)}" for key, here, _ in differences(ran, named)]


def described_differences(ours: dict, theirs: dict) -> str:
    """The settings, with the seed, in which two recipes differ: `epochs: 31 here, 30 there`; at most five of them.

    Empty where nothing can be compared.
    """
    if ours.get("name") != theirs.get("name"):
        found = [("recipe", ours.get("name"), theirs.get("name"))]
    elif not (is_recipe(ours) and is_recipe(theirs)):
        return ""
    else:
        found = [*different({"seed": ours.get("seed")}, theirs), *differences(ours, theirs)]
    words = [f"{key}: {shown(here)} here, {shown(there)} there" for key, here, there in found]
    return "; ".join(words[:_MOST] + [f"and {len(words) - _MOST} more"] * (len(words) > _MOST))


def differences(ours: dict, theirs: dict) -> list[tuple[str, object, object]]:
    """Key and both values of each setting that differs, seed apart; a setting that one lacks is not compared."""
    members, others = ({member["name"]: flat(member) for member in recipe["members"]} for recipe in (ours, theirs))
    if list(members) != list(others):
        return [("members", "+".join(members), "+".join(others))]
    found = different({key: value for key, value in ours.items() if key not in _NOT_COMPARED}, theirs)
    by_member = {name: different(settings, others[name]) for name, settings in members.items()}
    grouped: dict[str, dict[str, tuple]] = {}  # by key and value, which a damaged run.json may have of any type
    for name, (key, value, old) in ((name, change) for name, changes in by_member.items() for change in changes):
        grouped.setdefault(f"{key}={value}", {})[name] = (key, value, old)
    for changes in grouped.values():
        key, value, _ = next(iter(changes.values()))
        if len(changes) == len(by_member) and key != "seed":
            found.append((key, value, " and ".join(dict.fromkeys(shown(old) for _, _, old in changes.values()))))
        else:
            found += [(f"{name}.{key}", value, old) for name, (_, _, old) in changes.items()]
    return found


def different(ours: dict, theirs: dict) -> list[tuple[str, object, object]]:
    """Key and both values of each setting that both have, with different values."""
    return [(key, value, theirs[key]) for key, value in ours.items() if key in theirs and theirs[key] != value]


def is_recipe(settings: dict) -> bool:
    """Whether the settings, which may be of an older run or damaged, have members with names."""
    members = settings.get("members")
    kinds = {"name": str, "augment": dict}
    return isinstance(members, list) and all(
        isinstance(member, dict) and all(isinstance(member.get(key), kind) for key, kind in kinds.items())
        for member in members
    )


def flat(member: dict) -> dict:
    """A member's settings with `augment.<key>` as keys."""
    return {k: v for k, v in member.items() if k != "augment"} | {
        f"augment.{k}": v for k, v in member["augment"].items()
    }


def shown(value: object) -> str:
    """A value as `--set` takes it."""
    return "none" if value is None else str(value)


def folder_name(changes: list[str], config_hash: str) -> str:
    """The changes as a part of a file's name, each after a hyphen; long ones are cut and end with the hash."""
    name = re.sub(r"[^A-Za-z0-9.=_]+", "-", "".join(f"-{change}" for change in changes))
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}-{config_hash}"
