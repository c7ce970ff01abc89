"""How long `sprint` takes to the reference experiments' best accuracy, and how long the notebooks' way would.

    python benchmarks/sprint.py --input DIR --seeds 0 1 2 3 4 --json sprint.json

Each seed is a run of the command line of its own, from the raw files to the checked submission: its seconds are all of
them. The reference is `resnet18_adam` the notebooks' way up to its best validation accuracy: the seconds of its epochs,
measured here on part of the rows, times the number of its best epoch, from a recorded run of that recipe.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.reference_way import Reference
from benchmarks.ways import timed
from src import recipes
from src.data import competition
from src.data.split import Split, assign_folds
from src.train.device import choose_device, describe_device

ROOT = Path(__file__).resolve().parents[1]
GOAL = 65.31  # the best published accuracy of the reference experiments, resnet18_adam's on the test data


def run(source: Path, seed: int, device: str) -> dict:
    """One run of the recipe: seconds in all and of the training, validation accuracy of the submission's blend."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "src", "run", "--recipe", "sprint", "--seed", str(seed), "--device", device]
        command += ["--input", str(source), "--output", f"{folder}/run"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        record = json.loads(Path(folder, "run", "run.json").read_text())
    accuracy, train = record["ensemble"]["valid_accuracy"], record["members"]["sprint"]["train_seconds"]
    return {"seed": seed, "seconds": record["seconds"], "train_seconds": train, "accuracy": round(100 * accuracy, 2)}


def reference_epoch(source: Path, rows: int, device: torch.device) -> float:
    """Seconds of an epoch of `resnet18_adam` the notebooks' way, with its validation, from `rows` of the rows."""
    data, member = competition.read_competition(source).train, recipes.get("resnet18_adam").members[0]
    train, valid = Split(assign_folds(data.images, data.labels, 5, 0)).rows(0)
    way = Reference(member, data.images[train[:rows]], data.labels[train[:rows]], device)
    way.epoch()  # starts the workers, and does not count
    training = timed(way.epoch) * len(train) / rows
    some = valid[: rows // 2]
    return training + timed(lambda: way.accuracy(data.images[some], data.labels[some])) * len(valid) / len(some)


def best_epoch(record_file: Path) -> int:
    """The epoch in which a recorded run of `resnet18_adam` validated best."""
    return json.loads(record_file.read_text())["members"]["resnet18_adam"]["best_epoch"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rows", type=int, default=2000, help="of the reference way's epoch (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    recorded = ROOT / "results" / "resnet18_adam-cpu-seed0" / "run.json"
    parser.add_argument("--reference", type=Path, default=recorded, metavar="RUN_JSON", help="a run of resnet18_adam")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    device, epochs = choose_device(arguments.device)[0], best_epoch(arguments.reference)
    an_epoch = reference_epoch(arguments.input, arguments.rows, device)
    print(f"on {describe_device(str(device))}, {os.cpu_count()} cores")
    print(
        f"resnet18_adam the notebooks' way: {an_epoch:.0f} s an epoch, {epochs} to its best: {an_epoch * epochs:.0f} s"
    )
    found = []
    for seed in arguments.seeds:
        found.append(run(arguments.input, seed, arguments.device))
        print(
            "seed {seed}: {seconds:.0f} s, of which training {train_seconds:.0f}; {accuracy:.2f} %".format(**found[-1])
        )
    figures = {"goal": GOAL, "reference_epoch": an_epoch, "reference_epochs": epochs, "runs": found}
    for key in ("seconds", "accuracy"):
        values = [one[key] for one in found]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        figures[key] = {"mean": statistics.mean(values), "deviation": spread}
        print(f"{key}: {figures[key]['mean']:.2f} ± {spread:.2f}")
    figures["fraction"] = figures["seconds"]["mean"] / (an_epoch * epochs)
    reached = "reached" if figures["accuracy"]["mean"] >= GOAL else "missed"
    print(f"{figures['fraction']:.3f} of the reference's time; {GOAL} % {reached}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
