"""Gives run.json files of older sources the present names of keys, settings and choices.

    python -m tools.migrate_results              every run in results/
    python -m tools.migrate_results RUN …        the run.json of these folders

The kit reads the present names only. A file that has them already stays as it is. Figures do not change; `config_hash`
is computed from the renamed settings.
"""

import argparse
import json
import sys
from pathlib import Path

from src.config import hash_of_settings
from src.files import replacing

RUN = {
    "source": "code",
    "recipe_digest": "config_hash",
    "missing": "failed",
    "left_out": "skipped",
    "plan": "estimate",
}
RESULT = {
    "start": "initial_weights",
    "pieces": "accumulation_steps",
    "strikes": "rollbacks",
    "planned": "scheduled_epochs",
}
RECIPE = {"about": "description", "rows": "max_train_rows", "hours": "time_budget_hours"}
MEMBER = {
    "size": "image_size",
    "first_side": "initial_image_size",
    "growing": "resize_fraction",
    "freeze": "freeze_epochs",
    "batch": "batch_size",
    "warmup": "warmup_fraction",
    "patience": "early_stopping_patience",
    "balance": "class_balancing",
    "views": "tta",
}
CHOICES = {
    "normalization": {"faces": "dataset", "own": "pretrained"},
    "tta": {"plain": "none"},
    "form": {"hosts": "no_header"},
}


def renamed(content: dict, names: dict[str, str]) -> dict:
    """The same entries in the same order, under the names that replace theirs."""
    return {names.get(key, key): value for key, value in content.items()}


def with_choices(settings: dict) -> dict:
    """Settings whose choices have their present names."""
    return {k: CHOICES.get(k, {}).get(v, v) if isinstance(v, str) else v for k, v in settings.items()}


def migrated(content: dict) -> dict:
    """The content of a run.json with the present names; unchanged where it has them."""
    content = renamed(content, RUN)
    recipe = with_choices(renamed(content["recipe"], RECIPE))
    recipe["members"] = [with_choices(renamed(member, MEMBER)) for member in recipe["members"]]
    if recipe != content["recipe"]:
        content["recipe"], content["config_hash"] = recipe, hash_of_settings(recipe)
    content["members"] = {name: renamed(result, RESULT) for name, result in content["members"].items()}
    if "progress" in content:
        content["progress"] = {
            name: renamed(one, {"planned": "scheduled_epochs"}) for name, one in content["progress"].items()
        }
    return content


def migrate(path: Path) -> bool:
    """Rewrites a run.json where its names are older ones; whether it did."""
    before = json.loads(path.read_text(encoding="utf-8"))
    after = migrated(before)
    if after == before:
        return False
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
    return True


def main(argv: list[str]) -> int:
    """The command line; prints the files that were changed."""
    parser = argparse.ArgumentParser(prog="python -m tools.migrate_results", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder with a run.json (default: results/*)")
    folders = parser.parse_args(argv).runs or sorted(Path("results").glob("*/"))
    for folder in folders:
        if migrate(folder / "run.json"):
            print(folder / "run.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
