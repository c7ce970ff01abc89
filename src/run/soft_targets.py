"""Finds the predictions of earlier runs that become targets of a member: soft targets, and pseudo-labels of the test.

Both are read and checked before anything is trained. Their content counts in the run's identity.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.config import Member
from src.data.batches import LabelledImages
from src.data.competition import Competition
from src.ensemble.out_of_fold import read_blend, read_out_of_fold
from src.errors import UserError
from src.run.record import read_record
from src.run.run_folder import RunFolder
from src.train.soft_targets import smoothed_rows, soft_target_rows


@dataclass(frozen=True)
class SoftTargets:
    """Predicted probabilities that a member learns from; None where its settings name none."""

    train: np.ndarray | None = None  # float32 (n, 7) for all rows of the training data; nan: not predicted
    test: np.ndarray | None = None  # float32 (t, 7)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the content; empty where there is none."""
        parts = [part.tobytes() for part in (self.train, self.test) if part is not None]
        return hashlib.sha256(b"|".join(parts)).hexdigest()[:16] if parts else ""


def joint_digest(digests: list[str]) -> str:
    """16 hexadecimal digits for several digests in their order; empty where all are."""
    return hashlib.sha256("+".join(digests).encode()).hexdigest()[:16] if any(digests) else ""


def find_soft_targets(member: Member, folder: Path, data: Competition, rows: np.ndarray) -> SoftTargets:
    """The predictions that the member's settings name, as given or below `folder`.

    rows: those that the member trains on, int64. Raises UserError, which names the setting, for a path without
    predictions, predictions of other data, and training rows that nobody predicted.
    """
    train, test = None, None
    if member.soft_targets != "none":
        path = named_path(member, "soft_targets", folder)
        train = read_out_of_fold(path, data)
        missing = rows[np.isnan(train[rows]).any(1)]
        if len(missing):
            what = f"{len(missing):,} of {len(rows):,} training rows are not predicted, the first is row {missing[0]}"
            raise UserError(f"{member.name}.soft_targets={path}: {what}; each fold must be predicted")
    if member.pseudo_labels != "none":
        test = read_blend(named_path(member, "pseudo_labels", folder), data).test
    return SoftTargets(train, test)


def require_foreign(member: Member, folder: Path, run: RunFolder) -> None:
    """Raises UserError where a member would learn from the run's own files, which the run replaces."""
    for key in ("soft_targets", "pseudo_labels"):
        if getattr(member, key) != "none" and run.owns(path := named_path(member, key, folder)):
            raise UserError(f"{member.name}.{key}: {path} is in this run's own folder; give another --output")


def named_path(member: Member, key: str, folder: Path) -> Path:
    """The path that a setting names; UserError where it does not exist or is a run that predicted its own rows."""
    path = Path(getattr(member, key)).expanduser()
    path = path if path.exists() else folder / path
    if not path.exists():
        what = "no such run or predictions file; train that run first, or name another path"
        raise UserError(f"{member.name}.{key}={getattr(member, key)}: {what}")
    of_run = path / "run.json"
    if of_run.exists() and read_record(of_run, "name another run.").recipe.get("valid") == "train":
        raise UserError(f"{member.name}.{key}={path}: that run predicted rows that it had learnt (valid=train)")
    return path


def training_targets(
    member: Member, found: SoftTargets, train: LabelledImages, rows: np.ndarray, test_images: np.ndarray
) -> tuple[LabelledImages, Tensor | None]:
    """The images to train on, and their targets, float32 (n, 7); None where the labels are the targets.

    train: the images of `rows`. With pseudo-labels the test images follow; their labels are the most probable classes.
    """
    if not found.digest:
        return train, None
    device = train.images.device
    targets = smoothed_rows(train.labels, member.label_smoothing)
    if found.train is not None:
        targets = soft_target_rows(train.labels, torch.from_numpy(found.train[rows]).to(device), member)
    if found.test is None:
        return train, targets
    images, pseudo = (torch.from_numpy(part).to(device) for part in (test_images, found.test))
    images = torch.cat([train.images, images.unsqueeze(1)])
    return LabelledImages(images, torch.cat([train.labels, pseudo.argmax(1)])), torch.cat([targets, pseudo])
