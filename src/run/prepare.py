"""Before the first epoch: reads and checks what a run needs, and claims its folder, while an error costs nothing."""

import os
import platform
import time

import numpy as np
import torch

from src import config
from src.data import competition
from src.data.candidates import named_folder
from src.errors import UserError
from src.run import disk_space
from src.run.context import Inputs, RunContext, RunRequest, Shared
from src.run.finish import rehearse
from src.run.ranks import Process
from src.run.record import RUNNING, RowCounts, RunRecord
from src.run.report import report_seconds
from src.run.resume import resume
from src.run.run_folder import RunFolder
from src.run.soft_targets import find_soft_targets, require_foreign
from src.run.trainings import split_rows
from src.submit.write import read_example
from src.trackers.guarded import describe_tracking
from src.train import device as devices
from src.train.initial_weights import find_initial_weights
from src.train.precision import choose_precision
from src.train.signals import StopSignals
from src.train.tracking import Log


def prepare(request: RunRequest, signals: StopSignals, process: Process) -> RunContext:
    """Reads and checks everything, claims the folder and continues an earlier start.

    Raises UserError for what would stop the run later; until then nothing in the folder is overwritten.
    """
    inputs = read_inputs(request, process)
    folder, record = RunFolder(request.output), new_record(request, inputs, process)
    disk_space.require(request.output, needed_bytes(inputs, process.world_size))
    finish_seconds = rehearse(request.recipe, inputs)
    folder.require_idle()
    earlier = folder.claim(record, request.overwrite)
    if not earlier:
        folder.write_record(record)  # from here on the folder is known as this run's
    log = Log(folder.log_file, process.prefix)
    try:
        log_beginning(log, request, inputs, record)
        resume(request, folder, record, earlier, log)
        folder.write_record(record)
    except BaseException:
        log.close()
        raise
    waiting = [training.name for training in request.trainings if training.name not in record.members]
    shared = Shared(waiting, record.seconds, finish_seconds, report_seconds(request))
    return RunContext(request, inputs, folder, log, signals, process, shared)


def join(request: RunRequest, signals: StopSignals, process: Process, shared: Shared) -> RunContext:
    """The same run in another process, after the first one has prepared it; claims and overwrites nothing."""
    inputs, folder = read_inputs(request, process), RunFolder(request.output)
    log = Log(folder.log_file, process.prefix)
    log(f"device: {inputs.device_reason}")
    return RunContext(request, inputs, folder, log, signals, process, shared)


def join_to_finish(request: RunRequest, signals: StopSignals) -> RunContext:
    """The run in a process that trains nothing, after those that did have died.

    Raises UserError where the folder does not hold this run.
    """
    folder, process = RunFolder(request.output), Process()
    if not folder.record_file.exists():
        raise UserError(f"{request.output}: the run ended before it began; its processes have said why")
    inputs = read_inputs(request, process, trains=False)
    if found := new_record(request, inputs, process).differences(folder.read_record()):
        what = f"a run with {found} is there, and stays as it is"
        raise UserError(f"{request.output}: {what}; the processes of this one have said why they ended")
    log = Log(folder.log_file, process.prefix)
    return RunContext(request, inputs, folder, log, signals, process, Shared([], 0.0, 0.0))


def read_inputs(request: RunRequest, process: Process, trains: bool = True) -> Inputs:
    """Device, data, split and initial weights; UserError where one of them cannot be had.

    trains: whether the device must have the precision that the members ask for.
    """
    recipe = request.recipe
    device, reason, aside = choose_device(request.device, process)
    started = time.perf_counter()
    data = competition.read_competition(named_folder(request.input, recipe.data_folder))
    seconds = time.perf_counter() - started
    own = RunFolder(request.output)
    for member in recipe.members:
        if trains:
            choose_precision(member.precision, device)
        require_foreign(member, request.input, own)
    initial_weights = {member.name: find_initial_weights(member, request.input) for member in recipe.members}
    for name, weights in initial_weights.items():
        if weights.file and own.owns(weights.file):
            raise UserError(f"{name}.pretrained: {weights.file} is in this run's own folder; give another --output")
    if recipe.form == "auto" and data.example:
        read_example(data.example, len(data.test))
    split, soft_targets = split_rows(recipe, data.train.images, data.train.labels), {}
    for training in request.trainings:
        rows = split.rows(training.fold)[0]
        soft_targets[training.name] = find_soft_targets(training.member, request.input, data, rows)
    by_training = {training.name: initial_weights[training.base] for training in request.trainings}
    return Inputs(data, split, by_training, soft_targets, device, reason, aside, seconds)


def choose_device(wish: str, process: Process) -> tuple[torch.device, str, bool]:
    """The device of a process, with the reason, and whether the process must train nothing.

    Of several processes on a machine with GPUs each takes the one of its number. Where that one does not compute, the
    first process takes another one, and the others stay idle. Raises UserError where one device is asked for by many.
    """
    if process.world_size > 1 and wish not in ("auto", "cuda", "cpu"):
        raise UserError(f"--device {wish}: one device cannot serve {process.world_size} ranks; give auto, cuda or cpu")
    if process.world_size == 1 or wish == "cpu" or not torch.cuda.is_available():
        return *devices.choose_device(wish), False
    name = f"cuda:{process.local_rank}"
    if not (fault := devices.find_fault(name)):
        return torch.device(name), devices.describe_device(name), False
    device, reason = devices.choose_device("auto")
    return device, f"{reason}; {name} does not compute: {fault}", process.rank > 0


def needed_bytes(inputs: Inputs, processes: int) -> int:
    """The most that a run has on the disk: weights and predictions of all members, checkpoints of one a process.

    A checkpoint holds the weights, two moments, the moving average and the best epoch's weights; three of them are
    kept, and a fourth is being written.
    """
    sizes = [weights.num_bytes for weights in inputs.initial_weights.values()]
    rows = len(inputs.split.fold_of_row) + len(inputs.data.test)
    checkpoints = 4 * 5 * max(sizes) * min(processes, len(sizes))
    return sum(sizes) + checkpoints + 64 * rows * len(sizes) + disk_space.SMALL_FILES


def new_record(request: RunRequest, inputs: Inputs, process: Process) -> RunRecord:
    """run.json before the first member."""
    identity = request.identity(inputs)
    environment = {  # what a result may depend on
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "kernel": os.environ.get("KAGGLE_KERNEL_RUN_TYPE", ""),
    }
    return RunRecord(
        status=RUNNING,
        code=request.code,
        recipe=config.as_dict(request.recipe),
        config_hash=identity.config_hash,
        data_digest=identity.data_digest,
        targets_digest=identity.targets_digest,
        weights_digest=identity.weights_digest,
        rows=count_rows(request, inputs),
        device=devices.describe_device(str(inputs.device)),
        environment=environment,
        ranks=[""] * process.world_size if process.world_size > 1 else [],
    )


def count_rows(request: RunRequest, inputs: Inputs) -> RowCounts:
    """The rows that one training learns, those that are validated in all, and those of the test."""
    train_rows, valid_rows = inputs.split.rows(request.trainings[0].fold)
    valid = len(inputs.split.fold_of_row) if request.recipe.fold == "all" else len(valid_rows)
    return RowCounts(len(train_rows), valid, len(inputs.data.test))


def describe_split(request: RunRequest, rows: RowCounts) -> str:
    """The split for people."""
    recipe, trainings = request.recipe, len(request.trainings)
    learnt = f"{rows.train:,} rows to train on"
    if recipe.valid == "train":
        return f"{learnt}, {rows.valid:,} to validate (the same rows)"
    if recipe.fold == "all":
        return f"{recipe.folds} folds, {trainings} trainings of about {learnt}; {rows.valid:,} are validated in turn"
    if recipe.fold == "none":
        return f"{learnt}, none to validate: the last epoch counts"
    return f"{learnt}, {rows.valid:,} to validate (fold {recipe.fold} of {recipe.folds})"


def log_beginning(log: Log, request: RunRequest, inputs: Inputs, record: RunRecord) -> None:
    """The first lines of the log: sources, recipe, data, device."""
    code, recipe, rows, data = record.code, request.recipe, record.rows, inputs.data
    dirty = " (tree was dirty)" if code.dirty else ""
    log(f"fer2013-kit {code.digest}, commit {code.commit}{dirty}, {time.strftime('%Y-%m-%d')}")
    seeds = f"seeds {recipe.seeds}" if recipe.seeds != "none" else f"seed {recipe.seed}"
    log(f"recipe {recipe.name} [{record.config_hash}], {seeds}: {recipe.description}")
    counts = f"{len(data.train):,} train, {rows.test:,} test, read in {inputs.read_seconds:.1f} s"
    log(f"data [{data.digest}]: {counts}")
    for file in data.files:
        log(f"  {file}")
    for line in data.passed_over:
        log(f"passed over: {line}")
    log(f"split: {describe_split(request, rows)}")
    log(f"device: {inputs.device_reason}")
    if recipe.time_budget_hours is not None:
        log(f"budget: {recipe.time_budget_hours:g} hours, of which {max(0, request.budget.left()) / 3600:.2f} are left")
    for line in describe_tracking(recipe.track, RunFolder(request.output).tracking):
        log(line)
