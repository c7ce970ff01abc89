"""Peak memory of whole runs on the CPU, one for each reference recipe, against 2.5 GB.

    python benchmarks/memory.py --input DIR --json memory.json

Each run is the command line's own, in a process of its own: it reads the whole train.csv, plans, trains one epoch of
each member in its own batch size, evaluates, writes checkpoints, weights, predictions and the submission. What is fewer
is the rows: the first --rows of train.csv, half of them to validate, so that evaluation has whole batches of 512; and
the first --test-rows of test.csv. All test rows would hold 14 MB more. The peak is the system's own count of the
process's resident memory. Exits with 1 where a run fails, or where one is above the bound that should not be.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src import recipes
from src.data import synthetic
from src.data.competition import find_files, find_pairs
from src.notebook_recipes import NOTEBOOK_RECIPES

ROWS = {"train": 28_709, "test": 7_178}  # of the competition's files
ROOT = Path(__file__).resolve().parents[1]
BOUND = 2500  # MB of 10^6 bytes
LARGE = ("vit", "notebook_ensemble")  # images of 224x224: their activations alone are above it


def shortened(source: Path, folder: Path, tests: int) -> None:
    """The competition's pair in `folder`: all of train.csv, the first rows of test.csv (0: all)."""
    train, test = find_pairs(find_files(source), [])[0]
    (folder / "train.csv").symlink_to(train.resolve())
    with test.open("rb") as whole, (folder / "test.csv").open("wb") as part:
        part.writelines(islice(whole, tests + 1 if tests else None))


def command(recipe: str, source: Path, output: Path, rows: int) -> list[str]:
    """The command line of one run; a recipe that names its own number of rows keeps it."""
    named_rows = recipes.get(recipe).max_train_rows
    few = [] if named_rows else ["--rows", str(rows)]
    folds = [] if recipes.get(recipe).valid == "train" else ["folds=2"]
    settings = ["--set", "epochs=1", "pretrained=none", *folds]
    where = ["--input", str(source), "--output", str(output), "--device", "cpu"]
    return [sys.executable, "-m", "src", "run", "--recipe", recipe, *where, *few, *settings]


def measure(recipe: str, source: Path, rows: int) -> dict:
    """One run in a process of its own: its exit code, its seconds, and its peak in MB."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as output, (Path(output) / "said.txt").open("w+") as said:
        line = command(recipe, source, Path(output) / "run", rows)
        process = subprocess.Popen(line, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        last = said.read().splitlines()[-3:] if process.returncode else []
    unit = 1 if sys.platform == "darwin" else 1024
    seconds = round(time.perf_counter() - started, 1)
    return {"MB": round(usage.ru_maxrss * unit / 1e6), "seconds": seconds, "exit": process.returncode, "said": last}


def verdict(recipe: str, figures: dict) -> str:
    """Empty where all is as it should be; else what is not."""
    if figures["exit"]:
        return f"failed with {figures['exit']}: {' '.join(figures['said'])}"
    if figures["MB"] > BOUND:
        return f"above {BOUND:,} MB" + (", as expected: images of 224x224" if recipe in LARGE else "")
    return ""


def compare(source: Path, arguments: argparse.Namespace) -> dict:
    """Runs every recipe, prints the table as it grows, and returns it."""
    found = {}
    print(f"peak memory, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    for recipe in arguments.recipes:
        figures = found[recipe] = measure(recipe, source, arguments.rows)
        print(f"{recipe:24} {figures['MB']:6,} MB  {figures['seconds']:6.1f} s  {verdict(recipe, figures)}", flush=True)
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, metavar="DIR", help="with train.csv and test.csv; default: synthetic")
    parser.add_argument("--recipes", nargs="+", metavar="R", default=[r.name for r in NOTEBOOK_RECIPES])
    parser.add_argument("--rows", type=int, default=1100, help="of train.csv, half to validate (default: %(default)s)")
    parser.add_argument("--test-rows", type=int, default=600, help="of test.csv; 0: all (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as few:
        if arguments.input is None:
            synthetic.write_files(Path(made), **ROWS)
        shortened(arguments.input or Path(made), Path(few), arguments.test_rows)
        found = compare(Path(few), arguments)
    if arguments.json:
        environment = {"threads": torch.get_num_threads(), "torch": torch.__version__, "bound_MB": BOUND}
        arguments.json.write_text(json.dumps(environment | {"recipes": found}, indent=1) + "\n")
    wrong = [r for r, figures in found.items() if figures["exit"] or (figures["MB"] > BOUND and r not in LARGE)]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
