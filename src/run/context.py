"""What the parts of a run share: what was asked for, what was read, and the run's folder with its record."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from src import config
from src.config import Recipe
from src.data.batches import LabelledImages, on_device
from src.data.competition import Competition
from src.run.disk_space import DiskSpace
from src.run.ranks import Process
from src.run.record import Code, RunIdentity, RunRecord
from src.run.run_folder import RunFolder
from src.run.soft_targets import SoftTargets, joint_digest, training_targets
from src.run.trainings import Split, Training, trainings_of
from src.train.budget import Deadline
from src.train.initial_weights import InitialWeights
from src.train.precision import choose_precision
from src.train.signals import StopSignals
from src.train.tracking import Log
from src.train.trainer import TrainJob


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked to do."""

    recipe: Recipe
    code: Code
    input: Path  # where the competition's files are searched
    output: Path  # the run's folder
    device: str = "auto"
    overwrite: bool = False
    started: float = field(default_factory=time.time)  # when the budget began, in the seconds of `clock`
    restarted: float | None = None  # when torchrun started this process again, after which the budget goes on
    clock: Callable[[], float] = time.time
    checkpoint_seconds: float = 120.0  # between two checkpoints within an epoch
    report: bool = True  # whether the run ends with report.html

    trainings = property(lambda self: trainings_of(self.recipe))
    budget = property(lambda self: Deadline(self.recipe.time_budget_hours, self.started, self.clock))

    def identity(self, inputs: "Inputs") -> RunIdentity:
        """The digests that tell this run from another."""
        targets = joint_digest([one.digest for one in inputs.soft_targets.values()])
        weights = joint_digest([one.digest for one in inputs.initial_weights.values()])
        return RunIdentity(config.config_hash(self.recipe), inputs.data.digest, self.code.digest, targets, weights)


@dataclass(frozen=True)
class Inputs:
    """What a run reads before it starts."""

    data: Competition
    split: Split
    initial_weights: dict[str, InitialWeights]  # by training
    soft_targets: dict[str, SoftTargets]  # by training
    device: torch.device
    device_reason: str  # which device, and why
    is_idle: bool  # no device is left for this process, which trains nothing
    read_seconds: float

    def on_device(self, rows: np.ndarray) -> LabelledImages:
        """Training data by row numbers, on the device."""
        return on_device(self.data.train.images, self.data.train.labels, self.device, rows)

    def train_job(self, training: Training) -> TrainJob:
        """What to train, on the rows of its fold."""
        member, (train_rows, valid_rows) = training.member, self.split.rows(training.fold)
        found, faces = self.soft_targets[member.name], self.on_device(train_rows)
        train, targets = training_targets(member, found, faces, train_rows, self.data.test.images)
        precision, weights = choose_precision(member.precision, self.device), self.initial_weights[member.name].file
        return TrainJob(member, train, self.on_device(valid_rows), precision, training.seed, weights, targets)


@dataclass(frozen=True)
class Shared:
    """What the first process of a run tells the others."""

    waiting: list[str]  # names of the trainings that are not finished
    earlier_seconds: float  # of earlier starts of this run
    finish_seconds: float  # that blending, writing and checking take
    report_seconds: float = 0.0  # to keep for the report


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
    broken_trackers: set[str] = field(default_factory=set)  # that failed in this process

    recipe = property(lambda self: self.request.recipe)
    data = property(lambda self: self.inputs.data)
    budget = property(lambda self: self.request.budget)
    disk = property(lambda self: DiskSpace(self.folder.expendable))
    identity = property(lambda self: self.request.identity(self.inputs))

    member_names = property(lambda self: [training.name for training in self.request.trainings])

    @property
    def reserve(self) -> float:
        """Seconds to keep for the end: three times what blending, writing and checking took in the rehearsal, one more,
        and what the report takes.
        """
        return 1 + 3 * self.shared.finish_seconds + self.shared.report_seconds

    @contextlib.contextmanager
    def changing_record(self) -> Iterator[RunRecord]:
        """Yields run.json for changes, and writes it with the results that the members have left in their folders.

        One process at a time. If the block raises, run.json stays as it was.
        """
        with self.folder.lock():
            record = self.folder.read_record()
            yield record
            record.members = self.folder.read_results(self.member_names)
            began = self.request.started if self.request.restarted is None else self.request.restarted
            seconds = self.shared.earlier_seconds + self.request.clock() - began
            record.seconds = round(max(record.seconds, seconds), 1)
            self.disk.write(lambda: self.folder.write_record(record))
