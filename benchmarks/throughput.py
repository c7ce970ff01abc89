"""Images a second in training: the kit against the reference notebooks' way, in turns, in one run.

    python benchmarks/throughput.py --input DIR --json throughput.json

Same network, batch and augmentation, on the same rows of train.csv. Both ways train one epoch to warm up, which does
not count; then they take turns. Printed are the medians and their ratio.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.reference_way import Reference
from src import recipes
from src.config import Member
from src.data import competition, sample
from src.data.batches import on_device
from src.train import device as devices
from src.train import precision
from src.train.trainer import Trainer

RECIPES = ("simple_cnn_v2", "attention_cnn_v1", "resnet18_adam")


def faces(source: Path | None, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the first rows of train.csv, or made-up ones; repeated where there are fewer."""
    if source is None:
        images, labels = sample.faces(min(rows, 2000), seed=0)
    else:
        train = competition.read(source).train
        images, labels = train.images[:rows], train.labels[:rows]
    again = -(-rows // len(labels))
    return np.tile(images, (again, 1, 1))[:rows], np.tile(labels, again)[:rows]


def kit(member: Member, images: np.ndarray, labels: np.ndarray, device: torch.device) -> Callable[[], None]:
    """One epoch of the kit's training, without evaluation, to be called again and again."""
    rows = on_device(images, labels, device)
    trainer = Trainer(member, rows, rows, precision.choose(member.precision, device), seed=0)

    def epoch() -> None:
        trainer.half = trainer.new_half()
        trainer.train_epoch()

    return epoch


def timed(epoch: Callable[[], object]) -> float:
    """Seconds of one epoch; its end waits for the device, since it asks for the loss."""
    started = time.perf_counter()
    epoch()
    return time.perf_counter() - started


def compare(name: str, source: Path | None, rows: tuple[int, int], rounds: int, device: torch.device) -> dict:
    """Images a second of both ways, and their ratio. rows: for the reference way, for the kit."""
    member = replace(recipes.get(name).members[0], batch=64, pretrained="none")
    ways = {
        "reference": (rows[0], Reference(member, *faces(source, rows[0]), device).epoch),
        "kit": (rows[1], kit(member, *faces(source, rows[1]), device)),
    }
    for _, epoch in ways.values():
        epoch()
    speeds = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (n, epoch) in ways.items():
            speeds[way].append(n / timed(epoch))
    found = {way: round(statistics.median(values), 1) for way, values in speeds.items()}
    gc.collect()  # the workers of the reference way end with it
    ratios = [a / b for a, b in zip(speeds["kit"], speeds["reference"], strict=True)]
    return found | {"ratio": round(statistics.median(ratios), 2), "ratios": [round(r, 2) for r in ratios]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, metavar="DIR", help="the competition's files; default: made-up faces")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="R")
    parser.add_argument("--rows", type=int, default=3000, help="of the reference way's epoch (default: %(default)s)")
    parser.add_argument("--kit-rows", type=int, help="of the kit's epoch; default: the same")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    device = devices.choose(arguments.device)[0]
    rows = arguments.rows, arguments.kit_rows or arguments.rows
    found = {"device": devices.describe(str(device)), "torch": torch.__version__, "rows": rows, "recipes": {}}
    print(f"images a second on {found['device']}, batch 64")
    for name in arguments.recipes:
        figures = found["recipes"][name] = compare(name, arguments.input, rows, arguments.rounds, device)
        print(f"{name:20} reference {figures['reference']:9.1f}   kit {figures['kit']:9.1f}   {figures['ratio']:.2f}x")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
