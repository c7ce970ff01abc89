"""What a split that ignores copies adds to the validation accuracy: 1,236 training images of FER2013 are extra copies.

    python benchmarks/leak.py --input DIR [--recipe R] [--seed S] [--json FILE]

Trains the recipe's first member on the reference notebooks' split, which is stratified and lets copies of one face fall
on both sides, and gives the accuracy on all validation rows, on those that have a copy among the training rows, and on
the others. The second figure is memory; the first less the third is what the leak is worth.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src import recipes
from src.data import competition
from src.data.batches import on_device
from src.data.split import copy_groups
from src.train.fit import fit
from src.train.precision import Precision
from src.train.predict import probabilities
from src.train.tracking import epoch_line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="a folder with the competition's files")
    parser.add_argument("--recipe", default="simple_cnn_v1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    faces, member = competition.read(args.input).train, recipes.get(args.recipe).members[0]
    train, valid = next(StratifiedKFold(5, shuffle=True, random_state=0).split(faces.images, faces.labels))
    cpu = torch.device("cpu")
    rows = [on_device(faces.images[r], faces.labels[r], cpu) for r in (train, valid)]
    precision = Precision("float32", "for comparison", cpu)
    fitted = fit(member, *rows, precision, args.seed, lambda row, best: print(epoch_line(row, member.epochs, best)))
    predicted = probabilities(fitted.net, rows[1].images, "none", precision).numpy().argmax(1)
    groups = copy_groups(faces.images)
    figures = accuracies(predicted == faces.labels[valid], np.isin(groups[valid], groups[train]))
    figures |= {"recipe": args.recipe, "seed": args.seed, "best_epoch": fitted.best_epoch}
    print(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


def accuracies(right: np.ndarray, copied: np.ndarray) -> dict:
    """Rows and accuracy in percent: all validation rows, those with a copy among the training rows, the others."""
    kinds = {"all": np.ones_like(copied), "with a copy": copied, "without": ~copied}
    return {name: [int(chosen.sum()), round(100 * float(right[chosen].mean()), 2)] for name, chosen in kinds.items()}


if __name__ == "__main__":
    main()
