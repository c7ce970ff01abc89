"""What the parts of a run share: what was asked for, what was read, and the run's folder with its record."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from src import config
from src.config import Member, Recipe
from src.data.batches import LabelledImages, on_device
from src.data.competition import Competition
from src.ensemble.predictions import Predictions, load_predictions
from src.run.disk_space import DiskSpace
from src.run.folder import RunFolder
from src.run.record import Code, RunIdentity, RunRecord
from src.train.budget import Deadline
from src.train.initial_weights import InitialWeights
from src.train.precision import choose_precision
from src.train.signals import StopSignals
from src.train.tracking import Log
from src.train.trainer import TrainJob


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked to do.

    input: where the competition's files are searched. output: the run's folder. started: when the budget's clock began,
    in the seconds of `clock`. checkpoint_seconds: between two checkpoints within an epoch.
    """

    recipe: Recipe
    code: Code
    input: Path
    output: Path
    device: str = "auto"
    overwrite: bool = False
    started: float = field(default_factory=time.time)
    clock: Callable[[], float] = time.time
    checkpoint_seconds: float = 120.0


class Process(Protocol):
    """One of the `size` processes of a run; `ranks.Rank` is another implementation."""

    number: int
    size: int
    local: int  # its number on this machine
    prefix: str  # of its lines in the log

    def take(self, count: int) -> Iterator[int]:
        """The numbers, of `count` members, of those that this process trains."""

    def is_last(self) -> bool:
        """Whether this process, at the end of its work, is the last one."""

    def tell(self, shared: "Shared | None") -> None:
        """Tells the other processes that the run is prepared; None: that it cannot be."""

    def hear(self, signals: StopSignals) -> dict | None:
        """Waits for what the first process tells."""


class OneProcess:
    """The process that does a whole run."""

    number, size, local, prefix = 0, 1, 0, ""

    def take(self, count: int) -> Iterator[int]:
        """All."""
        yield from range(count)

    def is_last(self) -> bool:
        """Yes."""
        return True

    def tell(self, shared: "Shared | None") -> None:
        """There is nobody to tell."""


@dataclass(frozen=True)
class Inputs:
    """What a run reads before it starts. train_rows and valid_rows: int64 row numbers of the training data.

    initial_weights: by member. device_reason: which device, and why.
    """

    data: Competition
    train_rows: np.ndarray
    valid_rows: np.ndarray
    initial_weights: dict[str, InitialWeights]
    device: torch.device
    device_reason: str
    is_idle: bool  # no device is left for this process, which trains nothing
    read_seconds: float

    def on_device(self, rows: np.ndarray) -> LabelledImages:
        """Training data by row numbers, on the device."""
        return on_device(self.data.train.images, self.data.train.labels, self.device, rows)

    def train_job(self, member: Member, seed: int) -> TrainJob:
        """The training of one member on the run's rows."""
        rows = self.on_device(self.train_rows), self.on_device(self.valid_rows)
        precision = choose_precision(member.precision, self.device)
        return TrainJob(member, *rows, precision, seed, self.initial_weights[member.name].file)

    def test_on_device(self) -> LabelledImages:
        """The test images, on the device."""
        return on_device(self.data.test.images, None, self.device)


@dataclass(frozen=True)
class Shared:
    """What the first process of a run tells the others.

    waiting: names of the members to train. earlier_seconds: of earlier starts of this run. finish_seconds: that
    blending, writing and checking take.
    """

    waiting: list[str]
    earlier_seconds: float
    finish_seconds: float


@dataclass(frozen=True)
class RunContext:
    """A run under way. What changes lies in its folder."""

    request: RunRequest
    inputs: Inputs
    folder: RunFolder
    log: Log
    signals: StopSignals
    process: Process
    shared: Shared

    @property
    def recipe(self) -> Recipe:
        return self.request.recipe

    @property
    def data(self) -> Competition:
        return self.inputs.data

    @property
    def member_names(self) -> list[str]:
        """All members, in the recipe's order."""
        return [member.name for member in self.recipe.members]

    @property
    def waiting(self) -> list[Member]:
        """The members that were not finished when this start of the run began."""
        return [member for member in self.recipe.members if member.name in self.shared.waiting]

    @property
    def disk(self) -> DiskSpace:
        return DiskSpace(self.folder.expendable)

    @property
    def budget(self) -> Deadline:
        return Deadline(self.recipe.time_budget_hours, self.request.started, self.request.clock)

    @property
    def identity(self) -> RunIdentity:
        """The digests that tell this run from another."""
        return identity_of(self.request, self.data)

    @property
    def reserve(self) -> float:
        """Seconds to keep for blending, writing and checking: three times what the rehearsal took, and one."""
        return 1 + 3 * self.shared.finish_seconds

    def read_predictions(self, member: str) -> Predictions:
        """A finished member's predictions; UserError where they are damaged or of other data."""
        return load_predictions(self.folder.predictions(member), self.data.digest, len(self.data.test))

    @contextlib.contextmanager
    def changing_record(self) -> Iterator[RunRecord]:
        """Yields run.json for changes, and writes it with the results that the members have left in their folders.

        One process at a time. If the block raises, run.json stays as it was.
        """
        with self.folder.lock():
            record = self.folder.read_record()
            yield record
            record.members = self.folder.read_results(self.member_names)
            seconds = self.shared.earlier_seconds + self.request.clock() - self.request.started
            record.seconds = round(max(record.seconds, seconds), 1)
            self.disk.write(lambda: self.folder.write_record(record))


def identity_of(request: RunRequest, data: Competition) -> RunIdentity:
    """The digests that tell one run from another."""
    return RunIdentity(config.config_hash(request.recipe), data.digest, request.code.digest)
