"""Before the first epoch: reads, checks and claims all that a run needs, while an error still costs nothing."""

import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from src import config, disk, resume
from src.closing import rehearse
from src.config import Recipe
from src.data import competition
from src.data.competition import Competition
from src.data.split import split
from src.disk import Room
from src.errors import UserError
from src.run_folder import RunFolder
from src.run_state import Run, identity
from src.submit.write import read_example
from src.train import device as devices
from src.train import precision as precisions
from src.train.deadline import Deadline
from src.train.start import Start, prepare
from src.train.stop import Stop
from src.train.tracking import Log


def begin(
    recipe: Recipe,
    header: dict,
    source: Path,
    output: Path,
    device: str,
    overwrite: bool,
    started: float,
    stop: Stop,
) -> Run:
    """Reads, checks and claims all that a run needs; raises UserError for what would stop it later.

    Before the first epoch, and before anything is overwritten, an error costs nothing.
    """
    where, line = devices.choose(device)
    begun = time.time()
    data = competition.read_competition(source)
    seconds = time.time() - begun
    rows, starts = preflight(recipe, data, where, source)
    folder, record = RunFolder(output), papers_of_run(recipe, header, data, rows, where)
    held = sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) if output.is_dir() else 0
    disk.require(output, needed(starts, sum(map(len, rows)) + len(data.test)) - held)
    earlier = folder.claim(identity(record), overwrite)
    if not earlier:
        folder.write(record)  # from here on the folder is known as this run's
    log, deadline = Log(folder.log), Deadline(recipe.time_budget_hours, started)
    run = Run(recipe, data, folder, where, log, record, *rows, starts, deadline, stop, Room(output), started)
    try:
        say_beginning(run, line, seconds)
        go_on(run, earlier, source)
        rehearse(run)
        run.save()
    except BaseException:
        log.close()
        raise
    return run


def go_on(run: Run, earlier: dict | None, source: Path) -> None:
    """Takes into the record what an earlier start has finished, here or in a run that is attached below `source`."""
    if earlier:
        run.log(f"goes on with the run that is in {run.folder.path} ({earlier.get('status')})")
    elif resume.take_over(source, run.folder, run.identity, run.log):
        earlier = run.folder.read()
    else:
        return
    run.earlier = float(earlier.get("seconds", 0))
    run.record["progress"] = earlier.get("progress", {})
    for name, figures in earlier["members"].items():
        try:
            run.predictions(name)
            run.record["members"][name] = figures
        except UserError as error:
            run.log(f"warning: {name} is trained again, since its predictions cannot be used: {error}")


def preflight(
    recipe: Recipe, data: Competition, device: torch.device, source: Path
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, Start]]:
    """The numbers of the rows to train on and to validate on, and what each member starts from."""
    for member in recipe.members:
        precisions.choose(member.precision, device)
    starts = {member.name: prepare(member, source) for member in recipe.members}
    if recipe.form == "auto" and data.example:
        read_example(data.example, len(data.test))
    images, labels = (part[: recipe.max_train_rows] for part in (data.train.images, data.train.labels))
    if recipe.valid == "train":
        return (np.arange(len(images)),) * 2, starts
    return split(images, labels, recipe.folds, recipe.fold, recipe.split_seed), starts


def needed(starts: dict[str, Start], rows: int) -> int:
    """The most bytes that a run has on the disk: weights and predictions of all members, checkpoints of one.

    A checkpoint holds the weights, two moments, the moving average and the best epoch's weights; three of them stand
    there, and a fourth while it is written.
    """
    sizes = [start.size for start in starts.values()]
    return sum(sizes) + 4 * 5 * max(sizes) + 64 * rows * len(sizes) + disk.SMALL_FILES


def papers_of_run(recipe: Recipe, header: dict, data: Competition, rows: tuple, device: torch.device) -> dict:
    """run.json before the first member."""
    return {
        "status": "running",
        "source": header,
        "recipe": config.as_dict(recipe),
        "recipe_digest": config.config_hash(recipe),
        "data_digest": data.digest,
        "rows": {"train": len(rows[0]), "valid": len(rows[1]), "test": len(data.test)},
        "device": devices.describe(str(device)),
        "environment": environment(),
        "members": {},
        "missing": {},
        "left_out": {},
        "progress": {},
    }


def environment() -> dict:
    """What the run ran on, as far as a result may depend on it."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "kernel": os.environ.get("KAGGLE_KERNEL_RUN_TYPE", ""),
    }


def say_beginning(run: Run, device_line: str, seconds: float) -> None:
    """The first lines of the log: source, recipe, data, device."""
    source, recipe, rows = run.record["source"], run.recipe, run.record["rows"]
    dirty = " (tree was dirty)" if source["dirty"] else ""
    run.log(f"fer2013-kit {source['digest']}, commit {source['commit']}{dirty}")
    run.log(f"recipe {recipe.name} [{run.record['recipe_digest']}], seed {recipe.seed}: {recipe.description}")
    counts = f"{len(run.data.train):,} train, {rows['test']:,} test, read in {seconds:.1f} s"
    run.log(f"data [{run.data.digest}] {', '.join(map(str, run.data.files))}: {counts}")
    fold = "the same rows" if recipe.valid == "train" else f"fold {recipe.fold} of {recipe.folds}"
    run.log(f"split: {rows['train']:,} rows to train on, {rows['valid']:,} to validate ({fold})")
    run.log(f"device: {device_line}")
    if recipe.time_budget_hours is not None:
        run.log(f"budget: {recipe.time_budget_hours:g} hours, of which {run.deadline.left() / 3600:.2f} are left")
