"""The tables of recorded results: a row a run, and a row a recipe with what was published beside what was measured."""

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from src import config, recipes
from src.ensemble.merging import network_name
from src.recipe_changes import changed_settings
from src.run.record import BlendedMember, MemberResult, RunRecord, read_record
from src.submit.score import WITHOUT_COPY
from tools.ensemble_figures import NONE, shown

ADVICE = "record a run of an older version of the kit with that version, or run it again."
PAGE = """# Recorded results

`python -m tools.record` makes this page from the files in these folders; nobody edits it by hand. To repeat a run:
`git checkout COMMIT`, then `python -m src run --recipe RECIPE --seed SEED --set KEY=VALUE … --output DIR`, then
`python -m tools.record DIR --input input`. All settings of a run are in its run.json. The column "changed" names those
that differ from the recipe as it is now: where the recipe was another one at COMMIT, take them from run.json.
A shortened run had the `time_budget_hours` in its run.json, a pretrained one its weights below the input folder. A
blend is `python -m src ensemble RUN … --blend METHOD --copies COPIES --output DIR`; its commit is that of the
blending, and [LOG.md](../LOG.md) says how its members were trained.

## Recipes

What the reference notebooks printed, and what this kit measured with the same settings: means over the runs whose
recipe was not changed, ± the standard deviation where there are several. The seconds are in the order of the devices.
The columns are explained at the end.

{recipes}
## Ensembles

{ensembles}
## Runs

{runs}
Accuracies and F1 are in per cent. `start`: the first weights. `epochs`: the best epoch, whose weights were kept, and
the number of epochs. `seconds`: the whole run, from reading the files to the checked submission; other programs may
have used the machine at the same time. `images/s`: training alone. `train`: accuracy of the training batches,
augmented and with dropout. `valid`: accuracy on the validation fold, which chose the epoch; with all folds, of the
out-of-fold predictions. `PublicTest` chose nothing; `no copies`: PublicTest without the rows that are also in
train.csv. `copies=labelled`: those rows have the label that they have there; `labelled+near`: the labels of near copies
are weighed in too, also in `no copies`, so compare such a blend with its like. A `+` after the commit: the tree had
uncommitted changes. Of more than four members `epochs`, `images/s` and `train` say from the least to the most.
"""
ENSEMBLES = """Rows: each member on its validation fold; each network on all folds; each blend, fitted to four
fifths of the validation rows and measured on the last fifth, five times. All are slightly too high, since the same rows
chose the best epoch of each member.
Accuracies and F1 are in per cent, the interval has 95 % (Wilson), a gain is in percentage points, ± its standard error.

"""
MANY = 5  # members: their figures are a range


def changes(run: RunRecord) -> list[str]:
    """How a run differed from the recipe of its name as it is now: settings as `--set` takes them, and lost members.

    Of a blend: its method and its members.
    """
    if run.blend:
        texts = blended_networks(run.blend.members)
        copies = [f"copies={run.ensemble.copies}"] if run.ensemble.copies != "predicted" else []
        return [f"{run.blend.method} of {' + '.join(texts)}", *copies]
    if run.recipe_name not in recipes.RECIPES:
        return ["recipe no longer here"]
    named = config.as_dict(recipes.get(run.recipe_name))
    return changed_settings(run.recipe, named) + shortened(run)


def blended_networks(members: list[BlendedMember]) -> list[str]:
    """Recipe, name and seed of the members of a blend; a network that was trained on several folds once, with these."""
    folds, texts = {}, []
    for member in members:
        folds.setdefault(f"{member.recipe}.{network_name(member.name)} seed {member.seed}", []).append(member.fold)
    for network, numbers in folds.items():
        if len(set(numbers)) > 1:
            texts.append(f"{network} folds {', '.join(sorted(set(numbers)))}")
        else:
            count, fold = len(numbers), f" fold {numbers[0]}" * (numbers[0] not in ("", "0"))
            texts.append(f"{count} × " * (count > 1) + network + fold)
    return texts


def shortened(run: RunRecord) -> list[str]:
    """Members that the time budget shortened and members that are missing: such a run is not comparable."""
    asked = {member["name"]: member["epochs"] for member in run.recipe["members"]}
    scheduled = {name: result.scheduled_epochs for name, result in run.members.items() if name in asked}
    less = [f"{name} shortened" for name, epochs in scheduled.items() if epochs is not None and epochs < asked[name]]
    return less + [f"without {name}" for name in asked if name not in run.members]


def row_of_run(folder: Path) -> dict:
    """One row of the table of runs, from the files of one folder."""
    run = read_record(folder / "run.json", ADVICE)
    scored = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    members = run.members.values()
    public = {m["rows"]: m for m in scored["measures"] if m["usage"] == "PublicTest"}
    ensemble = blended_recipe(run)
    return {
        "recipe": ensemble or run.recipe_name,
        "changed": NONE if ensemble else ", ".join(changes(run)) or NONE,
        "seed": seeds(run, bool(ensemble)),
        "commit": run.code.commit + ("+" if run.code.dirty else ""),
        "device": run.device or NONE,
        "start": "; ".join(dict.fromkeys(start(m.initial_weights) for m in members)) or NONE,
        "epochs": epochs(members),
        "seconds": NONE if run.blend else f"{run.seconds:.0f}",
        "images/s": listed([m.images_per_second for m in members], 0),
        "train": listed([100 * m.train_accuracy for m in members], 2),
        "valid": f"{100 * run.ensemble.valid_accuracy:.2f}",
        "valid F1": f"{100 * run.ensemble.valid_f1:.2f}",
        "PublicTest": f"{100 * public['all']['accuracy']:.2f}",
        "no copies": f"{100 * public[WITHOUT_COPY]['accuracy']:.2f}",
    }


def epochs(members: Collection[MemberResult]) -> str:
    """The best epoch of each member, and how many it had; of many members the range of both."""
    if len(members) < MANY:
        return " + ".join(f"{m.best_epoch} of {m.epochs}" for m in members) or NONE
    return f"{listed([m.best_epoch for m in members], 0)} of {listed([m.epochs for m in members], 0)}"


def listed(values: list[float], digits: int) -> str:
    """The members' values; of many members the least and the most."""
    texts = [f"{value:.{digits}f}" for value in values]
    if len(texts) < MANY:
        return " + ".join(texts) or NONE
    least, most = (f"{end(values):.{digits}f}" for end in (min, max))
    return least if least == most else f"{least} to {most}"


def start(initial_weights: str) -> str:
    """ "scratch" or "pretrained", of what a member's result says of its first weights."""
    return "pretrained" if initial_weights.startswith("pretrained") else "scratch"


def blended_recipe(run: RunRecord) -> str:
    """The ensemble recipe whose members a blend of finished runs has, by name, blended as it says; else empty."""
    blended = run.blend and sorted((run.blend.method, m.recipe, m.name) for m in run.blend.members)
    for recipe in recipes.RECIPES.values():
        members = sorted((recipe.blend, m.name, m.name) for m in recipe.members)
        if blended and len(blended) > 1 and blended == members and run.ensemble.copies == recipe.copies:
            return recipe.name
    return ""


def seeds(run: RunRecord, of_members: bool) -> str:
    """The run's seed; of a blend a dash, or the seed of each member."""
    if run.blend:
        return ", ".join(m.seed for m in run.blend.members) if of_members else NONE
    return str(run.recipe["seed"])


def rows_of_runs(results: Path) -> list[dict]:
    """The rows of all folders, in the order of the recipes."""
    order = list(recipes.RECIPES)
    rows = [row_of_run(file.parent) for file in sorted(results.glob("*/score.json"))]
    return sorted(rows, key=lambda r: order.index(r["recipe"]) if r["recipe"] in order else len(order))


def markdown(rows: list[dict]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "| " + " | ".join("---" for _ in rows[0]) + " |"]
    return "\n".join(lines + ["| " + " | ".join(str(v) for v in r.values()) + " |" for r in rows]) + "\n"


def page(rows: list[dict], ensembles: str) -> str:
    """results/README.md: the tables of recipes and of runs, and those of the ensembles as text."""
    runs = markdown(rows) if rows else "None yet.\n"
    return PAGE.format(recipes=table_of_recipes(rows), ensembles=ensembles, runs=runs)


def tables_of_ensembles(results: Path) -> str:
    """For each recorded run with an ensemble.csv a title and its table, with what the columns mean."""
    tables = []
    for file in sorted(results.glob("*/ensemble.csv")):
        run = read_record(file.parent / "run.json", ADVICE)
        title = blended_recipe(run) or run.recipe_name
        seed = "" if run.blend else f", seed {run.recipe['seed']}"
        tables.append(f"**`{title}`{seed}** ({file.parent.name})\n\n{markdown(shown(pd.read_csv(file)))}\n")
    return ENSEMBLES + "".join(tables) if tables else "None yet.\n\n"


def table_of_recipes(rows: list[dict]) -> str:
    """Every recipe, what was published of it, and what was measured with it, unchanged."""
    lines = []
    for recipe in recipes.RECIPES.values():
        runs = unchanged(recipe, rows)
        stopped = [] if runs else [r for r in rows if r["recipe"] == recipe.name and is_shortened(r)]
        count = f"{len(stopped)}, shortened from {recipe.members[0].epochs} epochs" if stopped else len(runs) or NONE
        lines.append(described(recipe) | {"runs": count} | measured(runs or stopped))
    return markdown(lines)


def measured(runs: list[dict]) -> dict:
    """The columns of what was measured: means over the runs, the seconds of each device apart."""
    devices = list(dict.fromkeys(r["device"] for r in runs))
    times = [mean([float(r["seconds"]) for r in runs if r["device"] == d and r["seconds"] != NONE], 0) for d in devices]
    shown = {key: "; ".join(dict.fromkeys(r[key] for r in runs)) or NONE for key in ("epochs", "start")}
    accuracies = {key: mean([float(r[key]) for r in runs]) for key in ("valid", "PublicTest")}
    return accuracies | shown | {"seconds": "; ".join(times) or NONE, "device": "; ".join(devices) or NONE}


def unchanged(recipe: config.Recipe, rows: list[dict]) -> list[dict]:
    """The runs of the recipe as it is."""
    return [r for r in rows if r["recipe"] == recipe.name and r["changed"] == NONE]


def is_shortened(row: dict) -> bool:
    """Whether the run differs from its recipe in nothing but the epochs that its time budget took."""
    return row["changed"].endswith(" shortened") and "," not in row["changed"]


def described(recipe: config.Recipe) -> dict:
    """The columns that say what a recipe is."""
    return {
        "recipe": f"`{recipe.name}`",
        "what it is": recipe.description,
        "published, %": recipe.published or NONE,
    }


def mean(values: list[float], digits: int = 2) -> str:
    """Mean ± deviation over runs, the value itself for one run, or a dash."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else NONE
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"
