"""What the training methods cost of a step: all of docs/training.md at once, SAM apart, against a step without them.

    python benchmarks/training_methods.py --json training_methods.json

Both train the same network on the same images, in turns. Printed are the medians, and the median of the rounds'
ratios; the exit code is 1 where the methods add more than 15 % to a step. On a CPU the seconds are those of the
process, so that other processes do not count.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.checkpoint import random_images
from src import recipes
from src.config import Member
from src.train.device import choose_device
from src.train.precision import choose_precision
from src.train.trainer import Trainer, TrainJob

LIMIT = 1.15  # of the plain step
OFF = {"label_smoothing": 0.0, "ema": 0.0, "weight_decay_on": "all", "tta": "none"}
ON = {
    "mixup": 0.4,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "ema": 0.999,
    "weight_decay": 0.05,
    "weight_decay_on": "weights",
    "preprocessing": "equalize",
    "soft_targets": "as given to the trainer",
}


def members(recipe: str) -> dict[str, Member]:
    """The recipe's first member without the methods, with all, and with all and SAM; with its geometric changes."""
    member = replace(recipes.get(recipe).members[0], pretrained="none", **OFF)
    member = replace(member, augment=replace(member.augment, erase=0.0, resized_crop=0.0))
    augment = replace(member.augment, erase=0.5, resized_crop=0.6)
    drop_path = 0.1 if member.network.startswith(("face_resnet", "timm:")) else 0.0
    methods = replace(member, augment=augment, drop_path=drop_path, **ON)
    return {"plain": member, "methods": methods, "methods and SAM": replace(methods, sam_fraction=1.0)}


def make_trainer(member: Member, device: torch.device, batches: int) -> Trainer:
    """A trainer in its first epoch. The one with soft targets gets random ones."""
    rows = random_images(batches * member.batch_size, device)
    targets = torch.rand(len(rows.labels), 7, device=device).softmax(1) if member.soft_targets != "none" else None
    precision = choose_precision(member.precision, device)
    trainer = Trainer(TrainJob(member, rows, rows, precision, seed=0, targets=targets))
    trainer.net.train()
    return trainer


def seconds_of_an_epoch(trainer: Trainer) -> float:
    """Seconds of the steps over all rows: of the process on a CPU, else until the device has done them."""
    clock = time.process_time if trainer.device.type == "cpu" else time.perf_counter
    trainer.epoch_state = trainer.new_epoch()
    started = clock()
    for x, y in trainer.batches(trainer.epoch_state):
        loss, _ = trainer.step(x, y)
    loss.item()  # waits for the device
    return clock() - started


def measure(recipe: str, device: torch.device, rounds: int, batches: int) -> dict:
    """Seconds of a step by kind, and the ratios to the plain one."""
    trainers = {name: make_trainer(member, device, batches) for name, member in members(recipe).items()}
    for trainer in trainers.values():
        seconds_of_an_epoch(trainer)
    found = [{name: seconds_of_an_epoch(trainer) for name, trainer in trainers.items()} for _ in range(rounds)]
    medians = {name: round(statistics.median(f[name] for f in found) / batches, 5) for name in trainers}
    ratios = {name: round(statistics.median(f[name] / f["plain"] for f in found), 3) for name in trainers}
    return {"seconds_a_step": medians, "ratios": ratios}


def main() -> int:
    """The command line; exit code 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=("baseline", "resnet18_adam"), metavar="R")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    device, reason = choose_device(arguments.device)
    found = {"device": reason, "threads": torch.get_num_threads(), "recipes": {}}
    print(f"{reason}, {found['threads']} threads")
    for recipe in arguments.recipes:
        figures = found["recipes"][recipe] = measure(recipe, device, arguments.rounds, arguments.batches)
        ratios = ", ".join(f"{name} {ratio:.3f}" for name, ratio in figures["ratios"].items() if name != "plain")
        print(f"{recipe:16} plain {1000 * figures['seconds_a_step']['plain']:.1f} ms a step; of it {ratios}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(figures["ratios"]["methods"] > LIMIT for figures in found["recipes"].values()))


if __name__ == "__main__":
    sys.exit(main())
