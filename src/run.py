"""A run: train each member, keep its predictions, blend what is finished, write the submission."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.metrics import f1_score

from src import config, models, predictions
from src.config import Member, Recipe
from src.data import competition
from src.data.batches import Rows, on_device
from src.data.competition import Competition
from src.data.split import split
from src.ensemble import blend
from src.errors import UserError
from src.files import replacing
from src.predictions import Predictions
from src.run_folder import RunFolder
from src.submit import check, write
from src.train import device as devices
from src.train import precision as precisions
from src.train.fit import Fitted, fit
from src.train.predict import probabilities
from src.train.tracking import Log, epoch_line, write_history


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

    def rows(self, numbers: np.ndarray) -> Rows:
        """Training data by row numbers, on the device."""
        faces = self.data.train
        return on_device(faces.images[numbers], faces.labels[numbers], self.device)


def run(
    recipe: Recipe, header: dict, source: Path, output: Path, device: str = "auto", overwrite: bool = False
) -> dict:
    """Trains the recipe on the files below `source` and leaves a valid submission.csv in `output`; returns run.json.

    header: the digest and commit of the sources. The same call again goes on with the members that are not finished.
    Raises UserError for bad input, and where `output` holds another run.
    """
    started = time.time()
    where, line = devices.choose(device)
    data = competition.read(source)
    seconds = time.time() - started
    rows = preflight(recipe, data, where)
    folder = RunFolder(output)
    earlier = folder.claim(config.digest(recipe), data.digest, overwrite)
    log = Log(folder.log)
    this = Run(recipe, data, folder, where, log, papers_of_run(recipe, header, data, rows, where), *rows)
    try:
        say_beginning(this, line, earlier, seconds)
        for member in recipe.members:
            if not take_over(this, member):
                train_member(this, member)
            submit(this)
        this.record |= {"status": "finished", "seconds": round(time.time() - started, 1)}
        say_end(this)
    except BaseException as error:
        this.record["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        folder.write(this.record)
        log.close()
    return this.record


def preflight(recipe: Recipe, data: Competition, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the rows to train on and to validate on.

    Raises UserError for what would stop the run later: before the first epoch, and before anything is overwritten, it
    costs nothing.
    """
    for member in recipe.members:
        models.find(member.network)
        precisions.choose(member.precision, device)
    if recipe.form == "auto" and data.example:
        write.follow(data.example, len(data.test))
    images, labels = (part[: recipe.rows] for part in (data.train.images, data.train.labels))
    if recipe.valid == "train":
        return (np.arange(len(images)),) * 2
    return split(images, labels, recipe.folds, recipe.fold, recipe.split_seed)


def papers_of_run(recipe: Recipe, header: dict, data: Competition, rows: tuple, device: torch.device) -> dict:
    """run.json before the first member."""
    return {
        "status": "running",
        "source": header,
        "recipe": config.as_dict(recipe),
        "recipe_digest": config.digest(recipe),
        "data_digest": data.digest,
        "rows": {"train": len(rows[0]), "valid": len(rows[1]), "test": len(data.test)},
        "device": devices.describe(str(device)),
        "environment": environment(),
        "members": {},
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


def say_beginning(run: Run, device_line: str, earlier: dict | None, seconds: float) -> None:
    """The first lines of the log: source, recipe, data, device."""
    source, recipe, rows = run.record["source"], run.recipe, run.record["rows"]
    dirty = " (tree was dirty)" if source["dirty"] else ""
    run.log(f"fer2013-kit {source['digest']}, commit {source['commit']}{dirty}")
    run.log(f"recipe {recipe.name} [{run.record['recipe_digest']}], seed {recipe.seed}: {recipe.about}")
    counts = f"{len(run.data.train):,} train, {rows['test']:,} test, read in {seconds:.1f} s"
    run.log(f"data [{run.data.digest}] {', '.join(map(str, run.data.files))}: {counts}")
    fold = "the same rows" if recipe.valid == "train" else f"fold {recipe.fold} of {recipe.folds}"
    run.log(f"split: {rows['train']:,} rows to train on, {rows['valid']:,} to validate ({fold})")
    run.log(f"device: {device_line}")
    if earlier:
        run.log(f"goes on with the run that is in {run.folder.path} ({earlier.get('status')})")
        if earlier.get("source", {}).get("digest") != source["digest"]:
            run.log("warning: the sources have changed since; --overwrite trains everything anew")
        kept = {m: figures for m, figures in earlier["members"].items() if run.folder.predictions(m).exists()}
        run.record["members"] = kept
    run.folder.write(run.record)


def take_over(run: Run, member: Member) -> bool:
    """Whether the member was finished by an earlier start of this very run."""
    if member.name not in run.record["members"]:
        return False
    load(run, member.name)
    run.log(f"{member.name}: finished before, {percent(run.record['members'][member.name])}")
    return True


def load(run: Run, member: str) -> Predictions:
    return predictions.load(run.folder.predictions(member), run.data.digest, len(run.data.test))


def train_member(run: Run, member: Member) -> None:
    """Trains one member; leaves its history, weights and predictions in the folder, and its figures in run.json."""
    precision = precisions.choose(member.precision, run.device)
    seed = run.recipe.seed + member.seed
    what = f"{member.network}, at most {member.epochs} epochs; {precision.name} ({precision.reason})"
    run.log(f"{member.name}: {what}; seed {seed}")
    if member.balance == "weights+sampler":
        run.log("warning: class weights and sampler together correct the imbalance twice (balance=weights+sampler)")
    valid, folder, history = run.rows(run.valid_rows), run.folder.member(member.name), []

    def report(row: dict, best: bool) -> None:
        history.append(row)
        run.log(epoch_line(row, member.epochs, best))
        write_history(folder / "history.csv", history)

    fitted = fit(member, run.rows(run.train_rows), valid, precision, seed, report)
    save_weights(fitted.net, folder / "model.safetensors")
    test = on_device(run.data.test.images, None, run.device)
    probs = [probabilities(fitted.net, rows.images, member.views, precision).cpu().numpy() for rows in (valid, test)]
    figures = summary(run, fitted, probs[0], precision.name)
    predictions.save(
        run.folder.predictions(member.name), Predictions(papers(run, member, fitted), run.valid_rows, *probs)
    )
    run.record["members"][member.name] = figures
    best = f"best epoch {fitted.best_epoch} of {len(history)}"
    run.log(f"{member.name}: {percent(figures)}, {best}, {fitted.images_per_second:.0f} images/s")


def save_weights(net: torch.nn.Module, path: Path) -> None:
    """The weights as safetensors, under a temporary name first."""
    with replacing(path) as temporary:
        save_file({name: value.contiguous().cpu() for name, value in net.state_dict().items()}, temporary)


def summary(run: Run, fitted: Fitted, valid: np.ndarray, precision: str) -> dict:
    """A member's figures for run.json; accuracy and macro-F1 are of its final predictions on validation rows."""
    best = fitted.history[fitted.best_epoch - 1]
    return quality(run, run.valid_rows, valid) | {
        "train_accuracy": best["train_accuracy"],
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "train_seconds": round(fitted.seconds, 1),
        "images_per_second": round(fitted.images_per_second, 1),
        "parameters": sum(p.numel() for p in fitted.net.parameters()),
        "precision": precision,
    }


def quality(run: Run, rows: np.ndarray, probs: np.ndarray) -> dict:
    """Accuracy and macro-F1 of probabilities for training rows."""
    labels, predicted = run.data.train.labels[rows], probs.argmax(1)
    f1 = f1_score(labels, predicted, average="macro", zero_division=0.0)
    return {"valid_accuracy": float((predicted == labels).mean()), "valid_f1": float(f1)}


def papers(run: Run, member: Member, fitted: Fitted) -> dict:
    """The header of a predictions file."""
    return {
        "recipe": run.recipe.name,
        "member": member.name,
        "recipe_digest": run.record["recipe_digest"],
        "source_digest": run.record["source"]["digest"],
        "data_digest": run.data.digest,
        "seed": run.recipe.seed + member.seed,
        "fold": run.recipe.fold,
        "device": run.record["device"],
        "seconds": round(fitted.seconds, 1),
    }


def submit(run: Run) -> None:
    """Blends the members that are finished and replaces submission.csv."""
    blended = blend.mean([load(run, name) for name in run.record["members"]])
    write.write(run.folder.submission, blended.test.argmax(1), run.data.example, run.recipe.form)
    run.record["ensemble"] = {"members": list(run.record["members"])} | quality(run, blended.valid_rows, blended.valid)
    run.folder.write(run.record)


def say_end(run: Run) -> None:
    """The last lines: what the blend reaches, and whether the submission is in order."""
    run.log(f"mean of {len(run.record['members'])}: {percent(run.record['ensemble'])}")
    checked = check.check(run.folder.submission, len(run.data.test), run.data.example)
    for warning in checked.warnings:
        run.log(f"warning: {warning}")
    run.log(f"{run.folder.submission}: {checked.rows:,} rows, checked; {run.record['seconds']:.0f} s in all")


def percent(figures: dict) -> str:
    accuracy, f1 = (figures.get(key, float("nan")) for key in ("valid_accuracy", "valid_f1"))
    return f"validation accuracy {100 * accuracy:.2f} %, macro-F1 {f1:.3f}"


def reblend(runs: list[Path], source: Path, output: Path, form: str = "auto") -> str:
    """Blends all members of finished runs anew into `output`/submission.csv; returns a line that says what it reaches.

    Raises UserError for a folder without predictions, and for predictions from other data than that below `source`.
    """
    data = competition.read(source)
    files = [file for folder in runs for file in found(folder)]
    blended = blend.mean([predictions.load(file, data.digest, len(data.test)) for file in files])
    output.mkdir(parents=True, exist_ok=True)
    write.write(output / "submission.csv", blended.test.argmax(1), data.example, form)
    accuracy = (blended.valid.argmax(1) == data.train.labels[blended.valid_rows]).mean()
    rows = len(blended.valid_rows)
    return f"mean of {len(files)}: {100 * accuracy:.2f} % of {rows:,} validation rows; {output / 'submission.csv'}"


def found(folder: Path) -> list[Path]:
    """The predictions files of a run; UserError where there are none."""
    files = sorted((folder / "predictions").glob("*.npz"))
    if not files:
        raise UserError(f"{folder}: no predictions/*.npz there; name the folder of a run")
    return files
