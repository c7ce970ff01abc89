"""Recorded results: a finished run becomes a folder of results/, and all folders become the tables of the documents.

    python -m src.record RUN … --input DIR     record runs, scored with the labels below DIR, and remake the tables
    python -m src.record                       remake the tables alone

A folder holds run.json, history.csv, score.json and test_probs.npz (`probs`, float16 (t, 7), in test.csv's order), and
nothing in the tables is written by hand. Not bundled: recording is done at home.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from src import config, recipes, run_json
from src.csv_cells import read_cells
from src.ensemble import blend, predictions
from src.errors import UserError
from src.files import replacing
from src.run_folder import RunFolder
from src.submit import score

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COMMAND = "python -m src.record"
_NAME = 80  # characters of the changed settings: a folder's name has 255 at most
HEAD = f"""# Recorded runs

Made by `{COMMAND}` from the files in these folders; nothing here is written by hand. To repeat a run:
`python -m src run --recipe RECIPE --seed SEED --output DIR`, with `--set` for what stands under "changed"; then
`{COMMAND} DIR --input input`.
"""
NOTES = """\
Accuracies in percent. `epochs`: the epoch whose weights were kept, and how many ran. `seconds`: the whole run, from
reading the files to the checked submission, on a machine that may have had other work at the time; `images/s`:
training alone. `train`: as each batch was trained on, augmented and with dropout. `valid`: the held-out fold, on which
the epoch was chosen. `PublicTest` was looked at, not chosen on; `no copies`: PublicTest without the rows that also
stand in train.csv. A `+` behind the commit: the tree had uncommitted changes.
"""


def record(run: Path, source: Path, results: Path) -> Path:
    """Copies what a result needs from the folder of a finished run into a folder of `results`; returns that folder.

    source: where the competition's files and the labels for scoring are. Raises UserError for a run that is not
    finished, for predictions of other data, and for a submission that cannot be scored.
    """
    folder = RunFolder(run)
    content = folder.read()
    if content.get("status") != "finished":
        raise UserError(f"{run}: the run is {content.get('status')}; the same command again goes on with it")
    run_json.need_all(content, folder.run_json)
    scored = score.score(folder.submission, source).to_dict()
    members = [predictions.load(folder.predictions(m), content["data_digest"]) for m in blended(content, run)]
    target = place(results, content)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder.run_json, target / "run.json")
    (target / "score.json").write_text(json.dumps(scored, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(target / "test_probs.npz", probs=blend.mean(members).test.astype(np.float16))
    histories = [read_history(folder.member(m) / "history.csv").assign(member=m) for m in content["members"]]
    pd.concat(histories).to_csv(target / "history.csv", index=False, float_format="%.6g")
    return target


def blended(content: dict, run: Path) -> list[str]:
    """The members whose mean the submission is. UserError where run.json names others than it holds."""
    used = content["ensemble"].get("members", list(content["members"]))
    if not isinstance(used, list) or not used or not all(isinstance(n, str) and n in content["members"] for n in used):
        raise UserError(f"{run / 'run.json'}: ensemble.members must name members of the run; run it again.")
    return used


def place(results: Path, content: dict) -> Path:
    """The run's folder below `results`. A run of other sources that is recorded under the name keeps it."""
    target = results / name_of(content)
    if not (target / "run.json").exists():
        return target
    there = run_json.read(target / "run.json", "delete it")
    same = there.get("source") == content["source"]
    return target if same else target.with_name(f"{target.name}-{content['source']['commit']}")


def read_history(path: Path) -> pd.DataFrame:
    """The cells of history.csv as they stand there, one row an epoch. UserError for anything else, or over 2 MB."""
    header, *rows = read_cells(path)
    even = len(set(header)) == len(header) and all(len(row) == len(header) for row in rows)
    if not even or "epoch" not in header or not all(row[header.index("epoch")].isdecimal() for row in rows):
        raise UserError(f"{path}: not a history of this kit, with a row for each epoch.\nTrain the member again.")
    return pd.DataFrame(rows, columns=list(header))


def name_of(content: dict) -> str:
    """<recipe>-<device>-seed<S>, with the settings that differ from the named recipe between them; as a file's name.

    What is too long for a file's name is cut, and ends with the digest of its settings.
    """
    device = re.sub(r"[^a-z0-9]+", "-", content["device"].split("(")[0].lower()).strip("-")
    changed = re.sub(r"[^A-Za-z0-9.=]+", "-", "".join(f"-{c}" for c in changes(content)))
    if len(changed) > _NAME:
        changed = f"{changed[:_NAME]}-{content['recipe_digest']}"
    return f"{content['recipe']['name']}{changed}-{device}-seed{content['recipe']['seed']}"


def changes(content: dict) -> list[str]:
    """The settings, as key=value, in which a run differed from the recipe of that name as it is now."""
    ran = content["recipe"]
    if ran["name"] not in recipes.RECIPES:
        return ["recipe no longer here"]
    named = flat(config.as_dict(recipes.get(ran["name"])))
    texts = ("seed", "description", "published", "time_budget_hours")
    changed = [f"{k}={v}" for k, v in flat(ran).items() if k not in texts and named.get(k, v) != v]
    return changed + shortened(content)


def shortened(content: dict) -> list[str]:
    """What the deadline took from a run, and what failed in it: it is not comparable with the whole one."""
    members = content["recipe"].get("members")
    whole = [m for m in members if isinstance(m, dict)] if isinstance(members, list) else []
    asked = {m["name"]: m.get("epochs") for m in whole if isinstance(m.get("name"), str)}
    planned = {name: figures.get("planned") for name, figures in content["members"].items()}
    both = [(name, n, asked.get(name)) for name, n in planned.items()]
    less = [f"{name} shortened" for name, n, most in both if type(n) is type(most) is int and n < most]
    return less + [f"without {name}" for name in asked if name not in content["members"]]


def flat(settings, prefix: str = "") -> dict:
    """Nested dicts and lists as one dict with dotted keys."""
    if not isinstance(settings, dict | list):
        return {prefix[:-1]: settings}
    pairs = settings.items() if isinstance(settings, dict) else enumerate(settings)
    return {k: v for key, value in pairs for k, v in flat(value, f"{prefix}{key}.").items()}


# --------------------------------------------------------------------------------------------- tables


def row(folder: Path) -> dict:
    """One line of the table of runs, from the files of one folder."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    scored = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    members = run["members"].values()
    public = {m["rows"]: m for m in scored["measures"] if m["usage"] == "PublicTest"}
    return {
        "recipe": run["recipe"]["name"],
        "changed": ", ".join(changes(run)) or "–",
        "seed": run["recipe"]["seed"],
        "commit": run["source"]["commit"] + ("+" if run["source"]["dirty"] else ""),
        "device": run["device"],
        "epochs": " + ".join(f"{m['best_epoch']} of {m['epochs']}" for m in members),
        "seconds": f"{run['seconds']:.0f}",
        "images/s": " + ".join(f"{m['images_per_second']:.0f}" for m in members),
        "train": " + ".join(f"{100 * m['train_accuracy']:.2f}" for m in members),
        "valid": f"{100 * run['ensemble']['valid_accuracy']:.2f}",
        "valid F1": f"{run['ensemble']['valid_f1']:.3f}",
        "PublicTest": f"{100 * public['all']['accuracy']:.2f}",
        "no copies": f"{100 * public[score.WITHOUT_COPY]['accuracy']:.2f}",
    }


def markdown(rows: list[dict]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "| " + " | ".join("---" for _ in rows[0]) + " |"]
    return "\n".join(lines + ["| " + " | ".join(str(v) for v in r.values()) + " |" for r in rows]) + "\n"


def recorded(results: Path) -> list[dict]:
    """The rows of all folders, in the order of the recipes."""
    order = list(recipes.RECIPES)
    rows = [row(file.parent) for file in sorted(results.glob("*/score.json"))]
    return sorted(rows, key=lambda r: order.index(r["recipe"]) if r["recipe"] in order else len(order))


def runs_page(rows: list[dict]) -> str:
    """results/README.md."""
    return f"{HEAD}\n{markdown(rows) if rows else 'None yet.'}\n{NOTES}"


def recipes_table(rows: list[dict]) -> str:
    """The README's table: every recipe, what was published of it, and what was measured with it, unchanged."""
    lines = []
    for recipe in recipes.RECIPES.values():
        runs = [r for r in rows if r["recipe"] == recipe.name and r["changed"] == "–"]
        seen = {key: mean([float(r[key]) for r in runs]) for key in ("valid", "PublicTest")}
        on = "; ".join(sorted({r["device"] for r in runs}))
        lines.append(
            {"recipe": f"`{recipe.name}`", "what it is": recipe.description, "published, %": recipe.published or "–"}
            | {
                "measured: valid": seen["valid"],
                "PublicTest": seen["PublicTest"],
                "runs, on": f"{len(runs)}, {on}" if runs else "not run",
            }
        )
    return markdown(lines)


def mean(values: list[float]) -> str:
    """Mean ± deviation over runs, the value itself for one run, or a dash."""
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else "–"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def rewrite(readme: Path, table: str) -> None:
    """Puts the table between its two marks in the README."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError(f"{readme}: the marks {BEGIN} and {END} must each be there once")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    with replacing(readme) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def main(argv: list[str]) -> int:
    """The command line; exit code 0, or 2 for the user's error."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--input", type=Path, default=Path("input"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), metavar="FILE", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    try:
        for run in arguments.runs:
            print(record(run, arguments.input, arguments.results))
        rows = recorded(arguments.results)
        (arguments.results / "README.md").write_text(runs_page(rows), encoding="utf-8")
        rewrite(arguments.readme, recipes_table(rows))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
