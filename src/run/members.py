"""Trains the members of a run one after the other; each leaves its files and its result in the folder."""

import json
from pathlib import Path

import torch
from safetensors.torch import save

from src.data.batches import on_device
from src.ensemble.predictions import Predictions, save_predictions
from src.errors import UserError
from src.files import replacing
from src.report.numbers import counted
from src.run.attention import attention_recorder
from src.run.context import RunContext
from src.run.copies import near_copies_of_run
from src.run.estimate import Demand, allocate_epochs, allocation_table, measure_all
from src.run.finish import accuracy_and_macro_f1, describe_accuracy, submit
from src.run.record import MemberEstimate, MemberResult, Progress, as_text
from src.run.tracked import track_result, tracked
from src.run.trainings import Training
from src.trackers.guarded import Trackers
from src.train.budget import MemberBudget
from src.train.callbacks import TrainingCallbacks
from src.train.checkpoint import CheckpointManager
from src.train.device import describe_device
from src.train.fit import FitResult, TimeUp, fit
from src.train.initial_weights import weights_metadata
from src.train.precision import choose_precision
from src.train.predict import probabilities
from src.train.step_metrics import StepMetrics
from src.train.tracking import write_history
from src.train.trainer import TrainJob


def train_members(context: RunContext) -> None:
    """Trains what is not finished, in the recipe's order; after each member the submission is there.

    Of several processes, each takes the next member when it is free.
    """
    if context.process.rank == 0:
        near_copies_of_run(context)  # before the first submission, which waits for them
        submit_finished(context)
    if context.inputs.is_idle:
        return
    demands = measure_all(context)
    if context.process.rank == 0:
        record_estimate(context, [d for d in demands.values() if isinstance(d, Demand)])
    names = list(demands)
    for number in context.process.take(len(names)):
        next_ones = [demands[name] for name in names[number + context.process.world_size :: context.process.world_size]]
        later = [demand for demand in next_ones if isinstance(demand, Demand)]
        train_next(context, names[number], demands[names[number]], later)


def submit_finished(context: RunContext) -> None:
    """Logs which members earlier starts have finished, and writes their submission."""
    results = context.folder.read_results(context.member_names)
    for name, result in results.items():
        context.log(f"{name}: already finished, {describe_accuracy(result)}")
        delete_checkpoints(context, name)
    if results:
        submit(context)


def record_estimate(context: RunContext, demands: list[Demand]) -> None:
    """The estimate in log and run.json."""
    if not demands:
        return
    left, processes = context.budget.left() - context.reserve, context.process.world_size
    if len(demands) < processes:
        idle = counted(processes - len(demands), "rank")
        context.log(f"{counted(len(demands), 'member')} for {processes} ranks: {idle} without work")
    with context.changing_record() as record:
        for line in allocation_table(demands, left, record.device, processes):
            context.log(line)
        epochs = allocate_epochs(demands, left, processes)
        seconds = [round(demand.time.total(n), 1) for demand, n in zip(demands, epochs, strict=True)]
        pairs = zip(demands, map(MemberEstimate, epochs, seconds), strict=True)
        record.estimate = {demand.member.name: estimate for demand, estimate in pairs}


def train_next(context: RunContext, name: str, first: Demand | UserError, later: list[Demand]) -> None:
    """Trains this process's next member, or records why the run continues without it.

    later: the members that this process trains after it.
    """
    try:
        if isinstance(first, UserError):
            raise first
        with tracked(context, first.training) as trackers:
            finish_member(context, first.training, train(context, first, later, trackers))
    except (TimeUp, UserError) as reason:
        log = context.log if len(context.member_names) > 1 else context.log.to_file  # else it is the run's error
        log(f"warning: {' '.join(str(reason).splitlines())}; the run continues without {name}")
        with context.changing_record() as record:
            (record.skipped if isinstance(reason, TimeUp) else record.failed)[name] = as_text(str(reason))
        return
    try:
        submit(context)
    except BaseException:
        trackers.close(failed=True)
        raise
    delete_checkpoints(context, name)
    track_result(context, trackers, name)


def train(context: RunContext, first: Demand, later: list[Demand], trackers: Trackers) -> FitResult:
    """Trains a member in its share of the time that is left, from its checkpoint if it has one; see `train_next`."""
    member, folder = first.member, context.folder.member(first.member.name)
    epochs, budget = share_of_time(context, first, later)
    job = context.inputs.train_job(first.training)
    log_start(context, job)
    folder.mkdir(parents=True, exist_ok=True)
    identity = vars(context.identity) | {"member": member.name, "device": context.inputs.device.type}
    step_metrics = StepMetrics() if trackers else None

    def on_progress(history: list[dict], scheduled: int) -> None:
        record_epoch(context, member.name, history, scheduled)
        trackers.log_steps(step_metrics.take() if step_metrics else [])
        trackers.log_epoch(history[-1])

    callbacks = TrainingCallbacks(
        checkpoints=CheckpointManager(folder, identity, context.log),
        budget=budget,
        signals=context.signals,
        max_epochs=first.done + epochs,
        on_progress=on_progress,
        log=context.log,
        accumulation_steps=first.time.accumulation_steps,
        checkpoint_seconds=context.request.checkpoint_seconds,
        columns=context.log.columns,
        step_metrics=step_metrics,
        on_epoch=attention_recorder(context, job),
    )
    try:
        return fit(job, callbacks)
    finally:
        callbacks.checkpoints.join()


def share_of_time(context: RunContext, first: Demand, later: list[Demand]) -> tuple[int, MemberBudget]:
    """The further epochs of a member that leave time for the later ones, and its budget.

    Raises TimeUp where not even one epoch, or of a member that has epochs its prediction, fits.
    """
    left = context.budget.left()
    epochs, *others = allocate_epochs([first, *later], left - context.reserve)
    needed_after = first.time.predict + context.reserve  # seconds after its last epoch
    if not (epochs or (first.done and left >= needed_after)):
        raise TimeUp(f"no epoch of {first.member.name} fits into the time that is left")
    reserved = sum(demand.time.total(n) for demand, n in zip(later, others, strict=True) if n)
    return epochs, MemberBudget(context.budget, needed_after + reserved, needed_after)


def log_start(context: RunContext, job: TrainJob) -> None:
    """What is trained, how, and from which weights and targets."""
    member, inputs, precision = job.member, context.inputs, job.precision
    weights = inputs.initial_weights[member.name]
    what = f"{member.network}, at most {counted(member.epochs, 'epoch')}; {precision.name} ({precision.reason})"
    context.log(f"{member.name}: {what}; seed {job.seed}; {weights.description}")
    for note in weights.notes:
        context.log(f"{member.name}: {note}")
    for key in ("soft_targets", "pseudo_labels"):
        if getattr(member, key) != "none":
            digest = inputs.soft_targets[member.name].digest
            context.log(f"{member.name}: {key} of {getattr(member, key)} [{digest}]")
    if member.class_balancing == "weights+sampler":
        context.log("warning: class_balancing=weights+sampler corrects the imbalance twice")


def record_epoch(context: RunContext, member: str, history: list[dict], scheduled: int) -> None:
    """history.csv and the progress in run.json, after an epoch. A full disk costs them and not the training."""
    try:
        write_history(context.folder.history(member), history)
        with context.changing_record() as record:
            record.progress[member] = Progress(len(history), scheduled)
    except OSError as error:
        context.log(f"warning: history.csv or run.json could not be written, the training continues ({error})")


def finish_member(context: RunContext, training: Training, fitted: FitResult) -> None:
    """Weights, predictions and result of a trained member, in this order: the result says that it is finished."""
    folder, inputs, member = context.folder, context.inputs, training.member
    valid_rows = inputs.split.rows(training.fold)[1]
    precision = choose_precision(member.precision, inputs.device)
    metadata = weights_metadata(member, fitted.net)
    context.disk.write(lambda: save_weights(fitted.net, folder.weights_file(member.name), metadata))
    valid, test = (
        probabilities(fitted.net, rows.images, member.tta, precision, on_batch_end=context.signals.check).cpu().numpy()
        for rows in (inputs.on_device(valid_rows), on_device(inputs.data.test.images, None, inputs.device))
    )
    header = vars(context.identity) | {
        "recipe": context.recipe.name,
        "member": member.name,
        "seed": training.seed,
        "fold": "none" if training.fold is None else training.fold,
        "device": describe_device(str(inputs.device)),
        "seconds": round(fitted.seconds, 1),
    }
    content = Predictions(header, valid_rows, valid, test)
    context.disk.write(lambda: save_predictions(folder.predictions(member.name), content))
    result = MemberResult(
        *accuracy_and_macro_f1(inputs.data.train.labels[valid_rows], valid),
        train_accuracy=fitted.history[fitted.best_epoch - 1]["train_accuracy"],
        best_epoch=fitted.best_epoch,
        epochs=len(fitted.history),
        images_per_second=round(fitted.images_per_second, 1),
        train_seconds=round(fitted.seconds, 1),
        parameters=sum(p.numel() for p in fitted.net.parameters()),
        precision=precision.name,
        initial_weights=as_text(inputs.initial_weights[member.name].description),
        accumulation_steps=fitted.accumulation_steps,
        rollbacks=fitted.rollbacks,
        scheduled_epochs=fitted.scheduled_epochs,
    )
    context.disk.write(lambda: folder.write_result(member.name, result))
    if fitted.accumulation_steps > 1:
        context.log(f"{member.name}: each batch was split into {fitted.accumulation_steps} steps, to fit into memory")
    best = f"best epoch {fitted.best_epoch} of {len(fitted.history)}"
    context.log(f"{member.name}: {describe_accuracy(result)}, {best}, {fitted.images_per_second:.0f} images/s")


def save_weights(net: torch.nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """The weights as safetensors with metadata, under a temporary name first. Equal weights give equal bytes."""
    # Not save_file: its own error for a full disk does not say that it is one.
    content = save({name: value.contiguous().cpu() for name, value in net.state_dict().items()})
    end = 8 + int.from_bytes(content[:8], "little")
    # The library would write the metadata in a random order.
    header = json.dumps({"__metadata__": metadata} | json.loads(content[8:end]), separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path) as temporary:
        temporary.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])


def delete_checkpoints(context: RunContext, member: str) -> None:
    """Deletes what a finished member no longer needs."""
    for path in context.folder.checkpoints(member):
        path.unlink(missing_ok=True)
