"""Whether the kit's training learns what the reference notebooks' way does: validation accuracy after equal epochs.

    python benchmarks/equal_accuracy.py --input DIR --recipe simple_cnn_v2 --rows 8000 --epochs 6 --seeds 0 1 2

Same network, batch, optimizer, augmentation and rows; the schedule is constant, nothing is stopped early. Only how a
batch comes about differs: PIL, a loader and library transforms there, tensor operations on the device here.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.reference_way import Reference
from src import recipes
from src.config import Member
from src.data import competition
from src.data.batches import on_device
from src.data.split import split
from src.train import device as devices
from src.train import precision
from src.train.trainer import Trainer

Faces = tuple[np.ndarray, np.ndarray]


def reference(member: Member, train: Faces, valid: Faces, device: torch.device, seed: int) -> list[float]:
    """Validation accuracy after each epoch, the reference way."""
    way, found = Reference(member, *train, device, seed), []
    for _ in range(member.epochs):
        way.epoch()
        found.append(way.accuracy(*valid))
    return found


def kit(member: Member, train: Faces, valid: Faces, device: torch.device, seed: int) -> list[float]:
    """Validation accuracy after each epoch, the kit's way."""
    rows = on_device(*train, device), on_device(*valid, device)
    trainer = Trainer(member, *rows, precision.choose("float32", device), seed)
    return [trainer.epoch(number)["valid_accuracy"] for number in range(1, member.epochs + 1)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, required=True, metavar="DIR")
    parser.add_argument("--recipe", default="simple_cnn_v2")
    parser.add_argument("--rows", type=int, default=8000, help="to train on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    device = devices.choose(arguments.device)[0]
    data = competition.read(arguments.input).train
    chosen = split(data.images, data.labels, 5, 0, 0)
    train, valid = ((data.images[rows], data.labels[rows]) for rows in (chosen[0][: arguments.rows], chosen[1]))
    member = recipes.get(arguments.recipe).members[0]
    member = replace(
        member, schedule="constant", warmup_fraction=0.0, ema=0.0, epochs=arguments.epochs, pretrained="none"
    )
    found = {"reference": [], "kit": []}
    for seed in arguments.seeds:
        for name, way in (("kit", kit), ("reference", reference)):
            found[name].append([round(100 * a, 2) for a in way(member, train, valid, device, seed)])
            print(f"seed {seed}  {name:10} {'  '.join(f'{a:5.2f}' for a in found[name][-1])}", flush=True)
    for name, runs in found.items():
        best = [max(run) for run in runs]
        print(f"{name:10} best epoch {np.mean(best):.2f} ± {np.std(best, ddof=1) if len(best) > 1 else 0:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
