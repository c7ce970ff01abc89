"""One member of a run: trained, predicted, kept."""

from pathlib import Path

import torch
from safetensors.torch import save

from src.config import Member
from src.data.batches import on_device
from src.ensemble.predictions import Predictions, save_predictions
from src.files import replacing
from src.run_state import Run, percent
from src.train import precision as precisions
from src.train.checkpoint import NAMES, Keeper
from src.train.deadline import Allowance, Cost
from src.train.fit import Fitted, fit
from src.train.guard import Guard
from src.train.predict import probabilities
from src.train.tracking import epoch_line, write_history


def train_member(run: Run, member: Member, cost: Cost, epochs: int, own: float, others: float) -> None:
    """Trains one member; leaves its history, weights and predictions in the folder, and its figures in the record.

    cost: what its warm-up has measured. epochs: the most that the plan allots, with those behind it. own, others:
    seconds to leave for what comes after its last epoch, and for the members after it.
    """
    precision, start = precisions.choose(member.precision, run.device), run.starts[member.name]
    seed, folder = run.recipe.seed + member.seed, run.folder.member(member.name)
    what = f"{member.network}, at most {member.epochs} epochs; {precision.name} ({precision.reason})"
    run.log(f"{member.name}: {what}; seed {seed}; {start.line}")
    if member.class_balancing == "weights+sampler":
        run.log(
            "warning: class weights and sampler together correct the imbalance twice (class_balancing=weights+sampler)"
        )

    def record(history: list[dict], planned: int) -> None:
        run.record["progress"][member.name] = {"epochs": len(history), "planned": planned}
        try:
            run.room.write(lambda: write_history(folder / "history.csv", history))
            run.save()
        except OSError as error:
            run.log(f"warning: history.csv or run.json could not be written, the training goes on ({error})")

    def report(row: dict, best: bool) -> None:
        run.log(epoch_line(row, guard.epochs, best))

    keeper = Keeper(folder, papers_of_checkpoint(run, member), run.log)
    allowance = Allowance(run.deadline, own + others, own)
    guard = Guard(keeper, allowance, run.stop, keeper.load(), epochs, record, run.log, cost.pieces)
    rows = run.rows(run.train_rows), run.rows(run.valid_rows)
    try:
        fitted = fit(member, *rows, precision, seed, report, start.file, guard, run.log)
    finally:
        keeper.join()
    finish(run, member, fitted)


def papers_of_checkpoint(run: Run, member: Member) -> dict:
    """Whose a checkpoint is."""
    return run.identity | {"member": member.name, "device": run.device.type}


def left_to_train(run: Run, member: Member) -> tuple[int, int]:
    """The epochs that a member has behind it, in a checkpoint, and those that its schedule still has."""
    progress = run.record["progress"].get(member.name)
    if not progress or not any((run.folder.member(member.name) / name).exists() for name in NAMES):
        return 0, member.epochs
    return progress["epochs"], max(0, progress["planned"] - progress["epochs"])


def clear_checkpoints(run: Run, member: str) -> None:
    """Deletes what a finished member no longer needs."""
    for name in NAMES:
        (run.folder.member(member) / name).unlink(missing_ok=True)


def finish(run: Run, member: Member, fitted: Fitted) -> None:
    """Weights, predictions and figures of a trained member, each file whole or not there.

    run.json takes it in after the submission has: killed in between, a run comes back here from its last checkpoint.
    """
    folder, precision = run.folder.member(member.name), precisions.choose(member.precision, run.device)
    run.room.write(lambda: save_weights(fitted.net, folder / "model.safetensors"))
    valid, test = run.rows(run.valid_rows), on_device(run.data.test.images, None, run.device)
    probs = [
        probabilities(fitted.net, rows.images, member.tta, precision, between=run.stop.check).cpu().numpy()
        for rows in (valid, test)
    ]
    content = Predictions(papers(run, member, fitted), run.valid_rows, *probs)
    run.room.write(lambda: save_predictions(run.folder.predictions(member.name), content))
    figures = run.quality(run.valid_rows, probs[0]) | summary(run, member, fitted)
    run.record["members"][member.name] = figures
    if fitted.pieces > 1:
        run.log(f"{member.name}: its batches were taken in {fitted.pieces} pieces each, to fit into memory")
    best = f"best epoch {fitted.best_epoch} of {len(fitted.history)}"
    run.log(f"{member.name}: {percent(figures)}, {best}, {fitted.images_per_second:.0f} images/s")


def save_weights(net: torch.nn.Module, path: Path) -> None:
    """The weights as safetensors, under a temporary name first."""
    with replacing(path) as temporary:
        # Not save_file: its own error for a full disk does not say that it is one.
        temporary.write_bytes(save({name: value.contiguous().cpu() for name, value in net.state_dict().items()}))


def summary(run: Run, member: Member, fitted: Fitted) -> dict:
    """How a member came to be, for run.json."""
    return {
        "train_accuracy": fitted.history[fitted.best_epoch - 1]["train_accuracy"],
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "train_seconds": round(fitted.seconds, 1),
        "images_per_second": round(fitted.images_per_second, 1),
        "parameters": sum(p.numel() for p in fitted.net.parameters()),
        "precision": precisions.choose(member.precision, run.device).name,
        "start": run.starts[member.name].line,
        "pieces": fitted.pieces,
        "strikes": fitted.strikes,
        "planned": fitted.planned,
    }


def papers(run: Run, member: Member, fitted: Fitted) -> dict:
    """The header of a predictions file."""
    return run.identity | {
        "recipe": run.recipe.name,
        "member": member.name,
        "seed": run.recipe.seed + member.seed,
        "fold": run.recipe.fold,
        "device": run.record["device"],
        "seconds": round(fitted.seconds, 1),
    }
