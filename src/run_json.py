"""run.json as it is read back: whatever key the kit reads has the type and the range that the kit writes there.

Bounds: 4 MB of text, nested 20 deep. Other keys may stand there and are kept as they are.
"""

import re
from collections.abc import Callable
from pathlib import Path

from src.bounded_io import parse_json, read_bytes
from src.errors import UserError

LIMIT = 4_000_000  # bytes: a run of two members has 5,000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")  # becomes a file's name


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 500 and value.isprintable()


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_number(value: object) -> bool:
    """A number of reasonable size, or NaN: a loss may have become that."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and not abs(value) >= 1e12


def _is_digests(value: object) -> bool:
    """Name → 64 hexadecimal digits."""
    hexadecimal = re.compile("[0-9a-f]{64}")
    return isinstance(value, dict) and all(isinstance(v, str) and hexadecimal.fullmatch(v) for v in value.values())


def _is_progress(value: object) -> bool:
    """Name → the epochs done and planned of a member."""
    found = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(v, dict) and _is_count(v.get("epochs")) and _is_count(v.get("planned")) for v in found)


Kind = Callable[[object], bool]
QUALITY: dict[str, Kind] = {"valid_accuracy": _is_number, "valid_f1": _is_number}
FIGURES: dict[str, Kind] = QUALITY | {
    "train_accuracy": _is_number,
    "best_epoch": _is_count,
    "epochs": _is_count,
    "images_per_second": _is_number,
}
KEYS: dict[str, Kind | dict[str, Kind]] = {
    "status": _is_text,
    "source": {"digest": _is_text, "commit": _is_text, "dirty": _is_flag},
    "recipe": {"name": _is_name, "seed": _is_count},
    "recipe_digest": _is_text,
    "data_digest": _is_text,
    "device": _is_text,
    "seconds": _is_number,
    "ensemble": QUALITY,
    "files": _is_digests,
    "progress": _is_progress,
}


def read(path: Path, advice: str) -> dict:
    """run.json with the dicts `recipe` and `members`, and nothing of another type than KEYS and FIGURES say.

    A key may be missing, since a run that was broken off has not written all. UserError, with `advice`, where it cannot
    be read, is no JSON, or is not such a record.
    """
    text = read_bytes(path, LIMIT, advice)
    try:
        content = parse_json(text)
        _need(isinstance(content, dict), "it is no object")
        _need(isinstance(content.get("recipe"), dict), "recipe is no object")
        _need(isinstance(content.get("members"), dict), "members is no object")
        _check(content, KEYS, "")
        for name, figures in content["members"].items():
            _need(_is_name(name), f"{name!a:.40} is no member's name")
            _need(isinstance(figures, dict), f"members.{name} is no object")
            _check(figures, FIGURES, f"members.{name}.")
    except ValueError as bad:
        raise UserError(f"{path}: not a run.json of this kit, or damaged ({bad}); {advice}") from None
    return content


def need_all(content: dict, path: Path) -> None:
    """Raises UserError where a record that `read` gave lacks a key that a finished run has."""
    lacks = [f"{key}.{inner}" for key, kind in KEYS.items() if isinstance(kind, dict) for inner in kind]
    lacks = [key for key in lacks if key.split(".")[1] not in content.get(key.split(".")[0], {})]
    lacks += [key for key in KEYS if key not in content and key not in ("files", "progress")]  # older ones
    lacks += [f"members.{m}.{key}" for m, figures in content["members"].items() for key in FIGURES.keys() - figures]
    if lacks or not content["members"]:
        raise UserError(f"{path}: this is no finished run; it lacks {', '.join(sorted(lacks)[:5]) or 'members'}")


def _check(content: dict, kinds: dict, prefix: str) -> None:
    for key in kinds.keys() & content.keys():
        kind, value = kinds[key], content[key]
        if isinstance(kind, dict):
            _need(isinstance(value, dict), f"{prefix}{key} is no object")
            _check(value, kind, f"{prefix}{key}.")
        else:
            _need(kind(value), f"{prefix}{key} is {value!a:.40}")


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
