"""The command `tta`: what each set of test-time views is worth for finished runs, on rows that no member had learnt."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from src.config import Member
from src.data import competition
from src.data.competition import Competition
from src.ensemble.means import log_loss
from src.ensemble.predictions import load_predictions
from src.errors import UserError
from src.models.trained import load_trained, member_of_training
from src.run.predict import read_finished, weights_files
from src.run.run_folder import RunFolder
from src.train.device import choose_device
from src.train.precision import choose_precision
from src.train.predict import probabilities
from src.train.tta import TTA_VIEWS


@dataclass(frozen=True)
class Scored:
    """One member's validation rows under one set of views: whether each is right, bool (n,), and their log-loss."""

    right: np.ndarray
    loss: float


def compare_views(runs: list[Path], source: Path, device: str = "auto") -> str:
    """A table of the sets of views: accuracy and log-loss, and the gain over no augmentation with its standard error.

    Each member of the runs predicts its validation rows. The standard error is of rows: members that share a row count
    as one there. Raises UserError for a folder without networks or without validation rows, and for other data.
    """
    data, found = competition.read_competition(source), []
    for path in runs:
        folder = RunFolder(path)
        record = read_finished(folder)
        for name, file in weights_files(folder, record).items():
            rows = load_predictions(folder.predictions(name), data.digest).valid_rows
            if record.recipe.get("valid") == "train" or not len(rows):
                raise UserError(f"{path}: {name} has no validation rows that it had not learnt")
            found.append((rows, score_views(member_of_training(record.recipe, name), file, rows, data, device)))
    return "\n".join(views_table(found))


def score_views(member: Member, file: Path, rows: np.ndarray, data: Competition, device: str) -> dict[str, Scored]:
    """What one member reaches on its rows with each set of views."""
    place = choose_device(device)[0]
    net, labels = load_trained(member, file).to(place), data.train.labels[rows]
    images = torch.from_numpy(data.train.images[rows]).unsqueeze(1).to(place)
    precision, scored = choose_precision("auto", place), {}
    for name in TTA_VIEWS:
        probs = probabilities(net, images, name, precision).cpu().numpy().astype(np.float64)
        scored[name] = Scored(probs.argmax(1) == labels, log_loss(probs, labels))
    return scored


def views_table(found: list[tuple[np.ndarray, dict[str, Scored]]]) -> list[str]:
    """The table for people, from each member's rows and scores."""
    count = len(np.unique(np.concatenate([rows for rows, _ in found])))
    lines = [f"views, on {count:,} validation rows of {len(found)} member{'s' * (len(found) > 1)}:"]
    for name, views in TTA_VIEWS.items():
        scores = [scored[name] for _, scored in found]
        accuracy = mean_by_row(found, [s.right for s in scores]).mean()
        loss = np.average([s.loss for s in scores], weights=[len(rows) for rows, _ in found])
        number = f"{len(views):2d} view{'s' * (len(views) > 1):1s}"
        line = f"  {name:6s} {number}  {100 * accuracy:6.2f} %  log-loss {loss:.4f}"
        gain, error = gain_over_none(found, name)
        lines.append(line if name == "none" else f"{line}  gain {100 * gain:+.2f} ± {100 * error:.2f}")
    return lines


def gain_over_none(found: list[tuple[np.ndarray, dict[str, Scored]]], name: str) -> tuple[float, float]:
    """The mean gain of accuracy, 0-1, over the rows, and its standard error."""
    by_row = mean_by_row(found, [scored[name].right.astype(float) - scored["none"].right for _, scored in found])
    return float(by_row.mean()), float(by_row.std() / np.sqrt(len(by_row)))


def mean_by_row(found: list[tuple[np.ndarray, dict[str, Scored]]], values: list[np.ndarray]) -> np.ndarray:
    """The mean of the members' values for each row that any of them has, float64. values: one array a member."""
    _, at = np.unique(np.concatenate([rows for rows, _ in found]), return_inverse=True)
    return np.bincount(at, np.concatenate(values)) / np.bincount(at)
