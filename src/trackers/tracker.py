"""What a tracker of experiments is told: of a training before it, after each epoch, and of its result.

A tracker is W&B or TensorBoard. Accuracies and F1 are in per cent, as in history.csv.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Column of the history → its name in the trackers, and the factor that makes per cent of a share.
EPOCH_METRICS = {
    "lr": ("lr", 1),
    "train_loss": ("train/loss", 1),
    "train_accuracy": ("train/accuracy", 100),
    "valid_loss": ("valid/loss", 1),
    "valid_accuracy": ("valid/accuracy", 100),
    "valid_f1": ("valid/f1", 100),
    "seconds": ("seconds", 1),
}


@dataclass(frozen=True)
class TrackedTraining:
    """One training, as trackers know it. group: of all trainings of the run; folder: for the trackers' files.

    id_file: keeps the training's number in a tracker, so that a resumed training continues there.
    """

    name: str
    group: str
    tags: tuple[str, ...]
    config: dict
    folder: Path
    id_file: Path


@dataclass(frozen=True)
class Sample:
    """A validation face, uint8 (48, 48), with its row in the training data, its label and probabilities (7,)."""

    image: np.ndarray
    row: int
    label: int
    probs: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """The result of a training on its validation rows, with the best epoch's weights.

    labels int64 (n,); probs float32 (n, 7); summary: the best figures by name; metadata: of the weights file.
    pictures: draws images uint8 (h, w, 3) by name; called by the trackers that show them.
    """

    epoch: int
    labels: np.ndarray
    probs: np.ndarray
    samples: list[Sample]
    summary: dict[str, float]
    weights: Path
    metadata: dict[str, str]
    pictures: Callable[[], dict[str, np.ndarray]]


class Tracker:
    """What every tracker can be told. Each method may raise: `Trackers` protects the training."""

    def log_steps(self, rows: list[dict[str, float]]) -> None:
        """Receives metrics of some steps of an epoch by name; `step` is counted from the first epoch."""

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Receives the metrics of an epoch by name."""

    def log_evaluation(self, evaluation: Evaluation) -> None:
        """Receives the result."""

    def close(self, failed: bool) -> None:
        """Ends the tracking of this training. failed: the training did not end well."""


def epoch_metrics(row: dict) -> dict[str, float]:
    """The metrics of a row of the history; those that are not finite, as without validation rows, are left out."""
    found = {name: factor * row[key] for key, (name, factor) in EPOCH_METRICS.items() if key in row}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def read_or_create(path: Path, text: str) -> str:
    """The content of a small file, which is created with `text` where it is missing; safe for several processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip() or text
    return text
