"""How many hidden units of simple_cnn_v2 die at the start of training: torch's own last layer against one of zeros.

    python benchmarks/dead_units.py [--input DIR] [--rows N] [--epochs N] [--seeds N] [--json FILE]

Both ways train in one process on the same rows, with the recipe's settings, augmentation left out. A unit counts as
dead if it is 0 for each of the first thousand validation images. Without --input the faces are made up.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src import recipes
from src.config import Augment
from src.data import competition, sample
from src.data.augment import plain
from src.data.batches import Rows, on_device
from src.data.split import split
from src.train.fit import Trainer
from src.train.precision import Precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, help="a folder with the competition's files")
    parser.add_argument("--rows", type=int, default=6000, help="rows to train on (default 6000)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    train, valid = rows(args.input, args.rows)
    print(f"simple_cnn_v2, {len(train.labels):,} rows, {args.epochs} epochs, torch {torch.__version__}")
    figures = []
    for seed in range(args.seeds):
        for start in ("torch's own", "zeros"):
            figures.append({"last layer": start, "seed": seed} | measure(train, valid, args.epochs, start, seed))
            print("  ".join(f"{key} {value}" for key, value in figures[-1].items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


def rows(source: Path | None, count: int) -> tuple[Rows, Rows]:
    """The first `count` training rows and the validation rows of the recipe's split."""
    with tempfile.TemporaryDirectory() as folder:
        if source is None:
            sample.write(Path(folder), train=count * 5 // 4)
        faces = competition.read(source or Path(folder)).train
    train, valid = split(faces.images, faces.labels, 5, 0, 0)
    cpu = torch.device("cpu")
    return tuple(on_device(faces.images[r], faces.labels[r], cpu) for r in (train[:count], valid))


def measure(train: Rows, valid: Rows, epochs: int, start: str, seed: int) -> dict:
    """Dead hidden units of the 128 and validation accuracy after training."""
    member = replace(recipes.get("simple_cnn_v2").members[0], augment=Augment())
    trainer = Trainer(member, train, valid, Precision("float32", "for both", torch.device("cpu")), seed)
    if start != "zeros":
        trainer.net[-1].reset_parameters()
    for number in range(1, epochs + 1):
        row = trainer.epoch(number)
    return {"dead": dead(trainer.net, valid), "valid": round(100 * row["valid_accuracy"], 2)}


def dead(net: nn.Sequential, valid: Rows) -> int:
    """Units of the hidden layer that are 0 for each of a thousand images."""
    hidden = next(i for i, layer in enumerate(net) if isinstance(layer, nn.Linear)) + 1
    with torch.inference_mode():
        seen = net.eval()[: hidden + 1](plain(valid.images[:1000]))
    return int((seen == 0).all(0).sum())


if __name__ == "__main__":
    main()
