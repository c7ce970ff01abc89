"""The two ways to train that the benchmarks compare, an epoch at a time: the kit's, and the reference notebooks'."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.reference_way import Reference
from src import recipes
from src.config import Member
from src.data import competition, synthetic
from src.data.batches import on_device
from src.train.precision import choose_precision
from src.train.trainer import Trainer, TrainJob


def epoch(way: str, name: str, source: Path | None, rows: int, device: torch.device) -> Callable[[], object]:
    """One epoch of a recipe's first member in batches of 64, "kit" or "reference", to be called again and again."""
    member = replace(recipes.get(name).members[0], batch_size=64, pretrained="none")
    if way == "kit":
        return kit(member, *load_images(source, rows), device)
    return Reference(member, *load_images(source, rows), device).epoch


def load_images(source: Path | None, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the first rows of train.csv, or synthetic ones; repeated where there are fewer."""
    if source is None:
        images, labels = synthetic.make_faces(min(rows, 2000), seed=0)
    else:
        train = competition.read_competition(source).train
        images, labels = train.images[:rows], train.labels[:rows]
    again = -(-rows // len(labels))
    return np.tile(images, (again, 1, 1))[:rows], np.tile(labels, again)[:rows]


def kit(member: Member, images: np.ndarray, labels: np.ndarray, device: torch.device) -> Callable[[], None]:
    """One epoch of the kit's training, without evaluation, to be called again and again."""
    rows = on_device(images, labels, device)
    trainer = Trainer(TrainJob(member, rows, rows, choose_precision(member.precision, device), seed=0))
    trainer.net.train()

    def epoch() -> None:
        for x, y in trainer.batches(trainer.new_epoch()):
            loss, _ = trainer.step(x, y)
        loss.item()  # waits for the device

    return epoch


def timed(epoch: Callable[[], object]) -> float:
    """Seconds of one epoch; its end waits for the device, since it asks for the loss."""
    started = time.perf_counter()
    epoch()
    return time.perf_counter() - started
