"""A run under way: what it holds, and what its parts share."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.metrics import f1_score

from src import shared_record
from src.config import Recipe
from src.crew import Crew
from src.data.batches import Rows, on_device
from src.data.competition import Competition
from src.disk import Room
from src.ensemble import predictions
from src.ensemble.predictions import Predictions
from src.run_folder import RunFolder
from src.shared_record import Part
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
    device: torch.device | None  # None: no GPU was left for this rank, which trains nothing
    log: Log
    record: dict
    train_rows: np.ndarray
    valid_rows: np.ndarray
    starts: dict[str, Start]
    deadline: Deadline
    stop: Stop
    room: Room
    started: float  # seconds since 1970
    crew: Crew
    part: Part = field(default_factory=Part)  # of the record that this rank answers for
    devices: dict[int, str] = field(default_factory=dict)  # by rank, for people
    earlier: float = 0.0  # seconds that earlier starts of this run have taken
    closing: list[float] = field(default_factory=list)  # seconds that blending, writing and checking have taken

    def rows(self, numbers: np.ndarray) -> Rows:
        """Training data by row numbers, on the device; or in the file that they were put in."""
        return on_device(self.data.train.images, self.data.train.labels, self.device, numbers)

    @property
    def reserve(self) -> float:
        """Seconds to keep for blending, writing and checking: three times the longest so far, and one."""
        return 1 + 3 * max(self.closing)

    @property
    def identity(self) -> dict:
        """The digests that tell this run from another."""
        return identity(self.record)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """A block that changes the record, and what belongs to it: at its end run.json is written.

        Of several ranks one is in it at a time, with what the others have written; a rank's changes outside of it stay
        where they are of its own members.
        """
        with shared_record.alone(self.folder.path) if self.crew.size > 1 else contextlib.nullcontext():
            if self.crew.size > 1:
                self.record.update(self.part.merged(self.record, self.folder.read()))
            yield
            self.write()

    def save(self) -> None:
        """Writes run.json."""
        with self.changing():
            pass

    def write(self) -> None:
        """Writes run.json as this rank has it, with the seconds that all starts of the run have taken."""
        self.record["seconds"] = round(self.earlier + time.time() - self.started, 1)
        self.room.write(lambda: self.folder.write(self.record))

    def predictions(self, member: str) -> Predictions:
        """A finished member's predictions."""
        return predictions.load(self.folder.predictions(member), self.data.digest, len(self.data.test))

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
