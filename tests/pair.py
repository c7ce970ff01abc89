"""One of two ranks that train small networks together, for test_workers: `python -m tests.pair RANK FOLDER`."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.distributed import FileStore

from src import models
from src.config import Augment, Member
from src.data import sample
from src.data.batches import Rows, on_device
from src.train.fit import Course, Fitted, Watch, fit
from src.train.precision import Precision
from src.train.trainer import Trainer
from src.train.workers import ALONE, Team, Together

CPU = torch.device("cpu")
FLOAT32 = Precision("float32", "", CPU)
MOVED = Augment(rotation=10, flip=0.5, shift=0.1, brightness=0.2, contrast=0.2, erase=0.2)


def plain(dropout: float | None = None) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(144, 32), nn.GELU(), nn.Linear(32, 7))


def normed(dropout: float | None = None) -> nn.Sequential:
    layers = nn.Conv2d(1, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten()
    return nn.Sequential(*layers, nn.Dropout(dropout or 0.0), nn.Linear(200, 7))


NETWORKS = {"plain": plain, "normed": normed}  # for the registry, while these tests run

MEMBERS = {
    "plain": {"network": "plain", "optimizer": "sgd"},
    "everything": {
        "network": "plain",
        "augment": MOVED,
        "class_balancing": "weights",
        "label_smoothing": 0.1,
        "ema": 0.9,
        "schedule": "one_cycle",
        "optimizer": "adamw",
    },
    "sampler": {"network": "plain", "class_balancing": "sampler", "freeze_epochs": 1},
    "pieces": {"network": "plain", "optimizer": "sgd"},
    "normed": {"network": "normed", "lr": 3e-3, "epochs": 6, "dropout": 0.1},
}


class Cut(Watch):
    """Batches are taken in pieces, as where they do not fit into memory."""

    def begin(self, trainer: Trainer, course: Course) -> bool:
        trainer.pieces = 2
        return True


def rows() -> tuple[Rows, Rows]:
    """150 rows to train on, in batches of 32 with a last one of 22, and 40 to validate."""
    return on_device(*sample.faces(150, seed=11), CPU), on_device(*sample.faces(40, seed=12), CPU)


def train(name: str, team: Team = ALONE) -> Fitted:
    """One of the members, trained by the team; to be called on each of its ranks."""
    settings = {"lr": 0.01, "batch_size": 32, "epochs": 2} | MEMBERS[name]
    watch = Cut() if name == "pieces" else Watch()
    return fit(Member(name=name, **settings), *rows(), FLOAT32, 3, watch=watch, team=team)


def resumed(team: Team) -> tuple[float, float]:
    """Loss and accuracy of an epoch that was broken off after three steps, and went on with the first rank's state."""
    member = Member(name="half", network="plain", lr=0.01, batch_size=32, augment=MOVED)
    states = []

    def between() -> None:
        if len(states) == 0 and first.half.step == 3:
            states.append(first.state())

    first = Trainer(member, *rows(), FLOAT32, 3, team=team)
    first.half = first.new_half()
    whole = first.train_epoch(1, between)
    second = Trainer(member, *rows(), FLOAT32, 4, team=team)
    second.load(team.of_first(lambda: states[0]))
    return whole, second.train_epoch(1)


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    models.NETWORKS |= NETWORKS
    team = Together(FileStore(str(folder / "store"), 2), rank, 2, CPU)
    found = {"of_all": team.of_all(rank + 10), "of_first": team.of_first(lambda: f"rank {rank}")}
    found["same"] = team.same(torch.tensor([float(rank)])).item()
    found["summed"] = team.summed(torch.tensor([1.0 + rank])).item()
    found["agreed"] = [team.agreed(15 * rank, rank == 0) for _ in range(16)]
    for name in MEMBERS:
        fitted = train(name, team)
        found[name] = (fitted.history, fitted.net.state_dict())
    found["resumed"] = resumed(team)
    found["masks"] = team.of_all(torch.rand(3).tolist())
    torch.save(found, folder / f"{rank}.pt")
    team.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
