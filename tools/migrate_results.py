"""Gives the files of runs of older sources the present names of keys, settings, choices and columns.

    python -m tools.migrate_results              every run in results/
    python -m tools.migrate_results RUN …        these folders of runs, before `python -m tools.record` takes them

The kit reads the present names only. Files that have them already stay unchanged. Figures do not change. `config_hash`
is computed from the present settings; predictions files get the class names; the columns of history.csv that held
shares of 1 get `_percent` in their names and hold per cent.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from src.config import hash_of_settings
from src.dataset import CLASS_NAMES
from src.files import digest, replacing
from src.terminal import run_command
from src.train.tracking import PERCENT

RUN = {
    "source": "code",
    "recipe_digest": "config_hash",
    "missing": "failed",
    "left_out": "skipped",
    "plan": "estimate",
}
HEADER = {"recipe_digest": "config_hash", "source_digest": "code_digest"}
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
    content["recipe"], content["config_hash"] = recipe, hash_of_settings(recipe)
    content["members"] = {name: renamed(result, RESULT) for name, result in content["members"].items()}
    if "progress" in content:
        content["progress"] = {
            name: renamed(one, {"planned": "scheduled_epochs"}) for name, one in content["progress"].items()
        }
    return content


def migrate(folder: Path) -> list[Path]:
    """Rewrites the files of a run, or of a recorded one, if their names are older ones; returns the rewritten files."""
    path = folder / "run.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    after = migrated(before)
    rewritten = [file for file in sorted(folder.glob("predictions/*.npz")) if migrate_predictions(file)]
    histories = [*folder.glob("history.csv"), *sorted(folder.glob("members/*/history.csv"))]
    rewritten += [file for file in histories if migrate_history(file)]
    digests = {file.relative_to(folder).as_posix(): digest(file) for file in rewritten}
    if changed := {name: value for name, value in digests.items() if name in after.get("files", {})}:
        after |= {"files": after["files"] | changed}
    if after != before:
        rewritten.append(path)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
    return rewritten


def migrate_predictions(path: Path) -> bool:
    """Adds the class names to a predictions file that has none, and renames the keys of its header; whether it did."""
    with np.load(path) as file:
        arrays = dict(file)
    if "classes" in arrays:
        return False
    header = renamed(json.loads(str(arrays["header"])), HEADER)
    arrays |= {"classes": np.array(CLASS_NAMES), "header": np.array(json.dumps(header))}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return True


def migrate_history(path: Path) -> bool:
    """Gives a history.csv whose columns hold shares of 1 the present columns in per cent; whether it did."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)  # text: the other cells stay as they are
    older = [name for name in PERCENT if name in table]
    if not older:
        return False
    table[older] = table[older].map(lambda cell: f"{100 * float(cell):.6g}" if cell else cell)
    with replacing(path) as temporary:
        table.rename(columns=PERCENT).to_csv(temporary, index=False)
    return True


def main(argv: list[str]) -> int:
    """The command line; prints the files that were rewritten."""
    parser = argparse.ArgumentParser(prog="python -m tools.migrate_results", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder of a run (default: results/*)")
    for folder in parser.parse_args(argv).runs or sorted(Path("results").glob("*/")):
        for file in migrate(folder):
            print(file)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
