"""A run under way: what it holds, and what its parts share."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.metrics import f1_score

from src.config import Recipe
from src.data.batches import LabelledImages, on_device
from src.data.competition import Competition
from src.disk import Room
from src.ensemble.predictions import Predictions, load_predictions
from src.run_folder import RunFolder
from src.train.deadline import Deadline
from src.train.start import Start
from src.train.stop import Stop
from src.train.tracking import Log


@dataclass
class Run:
    """One run under way: its settings, its data, its folder, and the run.json that grows with it."""

    recipe: Recipe
    data: Competition
    folder: RunFolder
    device: torch.device
    log: Log
    record: dict
    train_rows: np.ndarray
    valid_rows: np.ndarray
    starts: dict[str, Start]
    deadline: Deadline
    stop: Stop
    room: Room
    started: float  # seconds since 1970
    earlier: float = 0.0  # seconds that earlier starts of this run have taken
    closing: list[float] = field(default_factory=list)  # seconds that blending, writing and checking have taken

    def rows(self, numbers: np.ndarray) -> LabelledImages:
        """Training data by row numbers, on the device."""
        return on_device(self.data.train.images, self.data.train.labels, self.device, numbers)

    @property
    def reserve(self) -> float:
        """Seconds to keep for blending, writing and checking: three times the longest so far, and one."""
        return 1 + 3 * max(self.closing)

    @property
    def identity(self) -> dict:
        """The digests that tell this run from another."""
        return identity(self.record)

    def save(self) -> None:
        """Writes run.json with the seconds that all starts of the run have taken."""
        self.record["seconds"] = round(self.earlier + time.time() - self.started, 1)
        self.room.write(lambda: self.folder.write(self.record))

    def predictions(self, member: str) -> Predictions:
        """A finished member's predictions."""
        return load_predictions(self.folder.predictions(member), self.data.digest, len(self.data.test))

    def quality(self, rows: np.ndarray, probs: np.ndarray) -> dict:
        """Accuracy and macro-F1 of probabilities for training rows."""
        labels, predicted = self.data.train.labels[rows], probs.argmax(1)
        f1 = f1_score(labels, predicted, average="macro", zero_division=0.0)
        return {"valid_accuracy": float((predicted == labels).mean()), "valid_f1": float(f1)}


def identity(record: dict) -> dict:
    """The digests of a run.json that tell one run from another."""
    return {
        "recipe_digest": record["recipe_digest"],
        "data_digest": record["data_digest"],
        "source_digest": record["source"]["digest"],
    }


def percent(figures: dict) -> str:
    """Accuracy and macro-F1 for people."""
    accuracy, f1 = (figures.get(key, float("nan")) for key in ("valid_accuracy", "valid_f1"))
    return f"validation accuracy {100 * accuracy:.2f} %, macro-F1 {f1:.3f}"
