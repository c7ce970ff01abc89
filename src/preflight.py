"""Before the first epoch: reads, checks and claims all that a run needs, while an error still costs nothing."""

import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from src import config, disk, resume
from src.closing import rehearse
from src.config import Recipe
from src.crew import Crew, choose_device
from src.data import competition, memory
from src.data.competition import Competition, Faces
from src.data.mapped import in_file
from src.data.split import split
from src.disk import Room
from src.errors import UserError
from src.run_folder import RunFolder
from src.run_state import Run, identity
from src.submit import write
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
    crew: Crew,
) -> Run:
    """Reads, checks and claims all that a run needs; raises UserError for what would stop it later.

    Before the first epoch, and before anything is overwritten, an error costs nothing.
    """
    where, line = choose_device(crew, device)
    begun = time.time()
    data = competition.read(source)
    seconds = time.time() - begun
    rows, starts = preflight(recipe, data, where, source)
    folder, record = RunFolder(output), papers_of_run(recipe, header, data, rows, where)
    held = sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) if output.is_dir() else 0
    fits, place = memory.fits(size_of(data), where)
    needs = needed(starts, sum(map(len, rows)) + len(data.test), crew.size)
    disk.require(output, needs - held + (0 if fits else crew.size * size_of(data)))
    earlier = folder.claim(identity(record), overwrite)
    if not earlier:
        folder.write(record)  # from here on the folder is known as this run's
    data = data if fits else moved(data, output)
    room, log = Room(output), Log(folder.log, 0 if crew.size > 1 else None)
    room.take()
    deadline = Deadline(recipe.time_budget_hours, started)
    run = Run(recipe, data, folder, where, log, record, *rows, starts, deadline, stop, room, started, crew)
    try:
        say_beginning(run, line, place, seconds)
        go_on(run, earlier, source)
        rehearse(run)
        run.write()
    except BaseException:
        room.give_back()
        log.close()
        raise
    return run


def join(
    recipe: Recipe,
    source: Path,
    output: Path,
    device: str | None,
    started: float,
    stop: Stop,
    crew: Crew,
    closing: float,
) -> Run:
    """The same run on another rank, after the first one has begun it; nothing is claimed or overwritten.

    device: None for a rank that will not train. closing: seconds that blending, writing and checking took the first.
    """
    where, line = choose_device(crew, device) if device else (None, "")
    data, folder = competition.read(source), RunFolder(output)
    rows, starts = preflight(recipe, data, where, source)
    log, deadline = Log(folder.log, crew.place.rank), Deadline(recipe.time_budget_hours, started)
    if where is not None:
        log(f"device: {line}")
        fits, place = memory.fits(size_of(data), where)
        log(place)
        data = data if fits else moved(data, output)
    record = folder.read()
    run = Run(recipe, data, folder, where, log, record, *rows, starts, deadline, stop, Room(output), started, crew)
    run.earlier, run.closing = float(record.get("seconds", 0)), [closing]
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
    recipe: Recipe, data: Competition, device: torch.device | None, source: Path
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, Start]]:
    """The numbers of the rows to train on and to validate on, and what each member starts from."""
    for member in recipe.members if device is not None else ():
        precisions.choose(member.precision, device)
    starts = {member.name: prepare(member, source) for member in recipe.members}
    if recipe.form == "auto" and data.example:
        write.follow(data.example, len(data.test))
    images, labels = (part[: recipe.max_train_rows] for part in (data.train.images, data.train.labels))
    if recipe.valid == "train":
        return (np.arange(len(images)),) * 2, starts
    return split(images, labels, recipe.folds, recipe.fold, recipe.split_seed), starts


def size_of(data: Competition) -> int:
    """Bytes of all images."""
    return data.train.images.nbytes + data.test.images.nbytes


def moved(data: Competition, folder: Path) -> Competition:
    """The same data with its images in files; of them nothing stays in memory but what the system caches."""
    train, test = (in_file([faces.images], folder) for faces in (data.train, data.test))
    return replace(data, train=Faces(train, data.train.labels), test=Faces(test, None))


def needed(starts: dict[str, Start], rows: int, ranks: int = 1) -> int:
    """The most bytes that a run has on the disk: weights and predictions of all members, checkpoints of one on a rank.

    A checkpoint holds the weights, two moments, the moving average and the best epoch's weights; three of them stand
    there, and a fourth while it is written.
    """
    sizes = [start.size for start in starts.values()]
    return sum(sizes) + 4 * 5 * max(sizes) * min(ranks, len(sizes)) + 64 * rows * len(sizes) + disk.RESERVED


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


def say_beginning(run: Run, device_line: str, place: str, seconds: float) -> None:
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
    run.log(place)
    if recipe.time_budget_hours is not None:
        run.log(f"budget: {recipe.time_budget_hours:g} hours, of which {run.deadline.left() / 3600:.2f} are left")
