"""What a checkpoint costs of an epoch, for the largest of the reference networks.

    python benchmarks/checkpoint.py --recipe resnet50_adam --json checkpoint.json

Steps are timed with and without a checkpoint being written beside them, in turns. The cost of one is what it holds the
training up (the copy of the state) and what it takes from the steps meanwhile (hashing and writing, in the background).
An epoch has one at its end and one for each two minutes of it.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src import recipes
from src.data.batches import LabelledImages, steps
from src.train.callbacks import CHECKPOINT_SECONDS
from src.train.checkpoint import LATEST, CheckpointManager
from src.train.device import choose_device
from src.train.fit import TrainState
from src.train.precision import choose_precision
from src.train.trainer import Trainer, TrainJob, copy_to_cpu

TRAIN_ROWS = 22_967  # of the reference split


def random_images(rows: int, device: torch.device) -> LabelledImages:
    """Noise with labels: what a step costs does not depend on the picture."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 1, 48, 48), dtype=torch.uint8, generator=generator)
    return LabelledImages(images.to(device), torch.randint(0, 7, (rows,), generator=generator).to(device))


def timed_steps(trainer: Trainer, manager: CheckpointManager | None, state: TrainState) -> float:
    """Seconds of the steps over all rows; with a manager, until a checkpoint that begins with them is written."""
    epoch = trainer.new_epoch()
    started = time.perf_counter()
    if manager:
        manager.save(trainer.state_dict(), state)
    for x, y in trainer.batches(epoch):
        loss, _ = trainer.step(x, y)
    loss.item()  # waits for the device
    if manager:
        manager.join()
    return time.perf_counter() - started


def measure(recipe: str, device: str, rounds: int, batches: int) -> dict:
    """The figures as a dict; seconds."""
    member, where = recipes.get(recipe).members[0], choose_device(device)[0]
    rows = random_images(batches * member.batch_size, where)
    trainer = Trainer(TrainJob(member, rows, rows, choose_precision(member.precision, where), seed=0))
    state = TrainState(best_epoch=1, best_weights=copy_to_cpu(trainer.net.state_dict()))
    with tempfile.TemporaryDirectory() as folder:
        manager = CheckpointManager(Path(folder), {}, print)
        timed_steps(trainer, manager, state)
        pairs = [(timed_steps(trainer, None, state), timed_steps(trainer, manager, state)) for _ in range(rounds)]
        file_bytes = Path(folder, LATEST).stat().st_size
    without, cost = statistics.median(a for a, _ in pairs), statistics.median(b - a for a, b in pairs)
    epoch = without / batches * steps(TRAIN_ROWS, member.batch_size)
    count = 1 + int(epoch // CHECKPOINT_SECONDS)
    return {
        "recipe": recipe,
        "device": str(where),
        "threads": torch.get_num_threads(),
        "checkpoint_MB": round(file_bytes / 1e6, 1),
        "checkpoint_seconds": round(cost, 3),
        "epoch_seconds": round(epoch, 1),
        "checkpoints_an_epoch": count,
        "percent_of_the_epoch": round(100 * count * cost / epoch, 2),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="resnet50_adam")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    figures = measure(arguments.recipe, arguments.device, arguments.rounds, arguments.batches)
    print(json.dumps(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
