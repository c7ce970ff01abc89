"""The end of a run, and of each of its members: blends what is finished, writes the submission, checks it."""

import contextlib
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

from src.config import Recipe
from src.data.competition import Competition
from src.dataset import NUM_CLASSES
from src.ensemble.blend import blend, compare_blends, fitted_blend
from src.ensemble.methods import AUTO, BlendFigures, choose, figures_table
from src.ensemble.out_of_fold import write_csv
from src.ensemble.predictions import Predictions, load_predictions
from src.errors import UserError
from src.run.context import Inputs, RunContext
from src.run.copies import NO_NEAR_COPIES, copies_lines, near_copies_of_run, with_copies
from src.run.record import FAILED, FINISHED, INTERRUPTED, EnsembleResult, MemberResult, RunRecord
from src.run.trainings import seeds_of, trainings_of
from src.submit.check import check_submission
from src.submit.write import write_submission
from src.train.signals import Stopped


def submit(context: RunContext) -> None:
    """Writes the submission of the best blend of the members that are finished, then run.json, which names them."""
    near = near_copies_of_run(context)
    with context.changing_record() as record:
        names, data = list(context.folder.read_results(context.member_names)), context.data
        files = map(context.folder.predictions, names)
        members = [load_predictions(file, data.digest, len(data.test)) for file in files]
        number, method, figures, blended = choose_blend(context.recipe, members, data.train.labels)
        blended, *copies = with_copies(blended, data, context.recipe.copies, near, context.recipe.max_train_rows)
        labels, form = blended.test.argmax(1), context.recipe.form
        context.disk.write(lambda: write_submission(context.folder.submission, labels, data.example, form))
        reached, by_seed = accuracy_and_macro_f1(data.train.labels[blended.valid_rows], blended.valid), {}
        if context.recipe.fold == "all":
            folds, path = context.inputs.split.fold_of_row, context.folder.out_of_fold
            context.disk.write(lambda: write_csv(path, blended, data.train.labels, folds))
            by_seed = accuracy_by_seed(context, dict(zip(names, members, strict=True)))
        record.ensemble = EnsembleResult(names[:number], *reached, method, figures, by_seed, *copies)


def choose_blend(
    recipe: Recipe, members: list[Predictions], labels: np.ndarray
) -> tuple[int, str, dict[str, BlendFigures], Predictions]:
    """How many of the first members are blended, by which method, the figures of those compared, and the blend.

    The mean of one fold's members is of those that `best_mean` chooses; every other blend is of all members.
    """
    if recipe.blend == "mean" and isinstance(recipe.fold, int):
        number, blended = best_mean(members, labels)
        return number, "mean", {}, blended
    method, figures = recipe.blend, {}
    if method == AUTO:
        figures = compare_blends(members, labels)[1]
        method = choose(figures)
    return len(members), method, figures, fitted_blend(members, method, labels)


def accuracy_by_seed(context: RunContext, members: dict[str, Predictions]) -> dict[str, float]:
    """The out-of-fold accuracy, 0-1, of the blend of the members with each seed of which all members are finished."""
    labels, found = context.data.train.labels, {}
    for seed in seeds_of(context.recipe):
        names = [name for name in context.member_names if name.endswith(f"-s{seed}")]
        if members.keys() >= set(names):
            blended = blend([members[name] for name in names])
            found[str(seed)] = accuracy_and_macro_f1(labels[blended.valid_rows], blended.valid)[0]
    return found


def best_mean(members: list[Predictions], labels: np.ndarray) -> tuple[int, Predictions]:
    """The mean of all members; of the first ones alone where that gains more than the gain's standard error.

    members: with the same validation rows. labels: of the training data, int64 (n,). Returns how many members, and the
    mean. The choice depends on the members alone, not on where a run was interrupted.
    """
    means = [blend(members[: number + 1]) for number in range(len(members))]
    truth = labels[means[-1].valid_rows]
    right = np.array([one.valid.argmax(1) == truth for one in means], dtype=float)
    best = int(right.sum(1).argmax())
    gain = right[best] - right[-1]
    if gain.sum() <= gain.std() * np.sqrt(len(gain)):
        best = len(means) - 1
    return best + 1, means[best]


def accuracy_and_macro_f1(labels: np.ndarray, probs: np.ndarray) -> tuple[float, float]:
    """Accuracy and macro-F1, 0-1, of probabilities (n, 7) for labels (n,); NaN where there are no rows."""
    if not len(labels):
        return float("nan"), float("nan")
    predicted = probs.argmax(1)
    f1 = f1_score(labels, predicted, average="macro", zero_division=0.0)
    return float((predicted == labels).mean()), float(f1)


def describe_accuracy(result: MemberResult | EnsembleResult) -> str:
    """Accuracy and macro-F1 for people."""
    if math.isnan(result.valid_accuracy):
        return "not validated"
    return f"validation accuracy {100 * result.valid_accuracy:.2f} %, macro-F1 {100 * result.valid_f1:.2f} %"


def rehearse(recipe: Recipe, inputs: Inputs) -> float:
    """Seconds that blending all members, writing and checking take, measured with even probabilities.

    Raises UserError for what would stop the run after its first member.
    """
    data = inputs.data
    even = np.full((max(len(data.test), len(data.train)), NUM_CLASSES), 1 / NUM_CLASSES, np.float32)
    members = []
    for training in trainings_of(recipe):
        rows = inputs.split.rows(training.fold)[1]
        fold = "none" if training.fold is None else training.fold
        header = {"member": training.name, "data_digest": data.digest, "recipe": recipe.name}
        header |= {"seed": training.seed, "fold": fold}
        members.append(Predictions(header, rows, even[: len(rows)], even[: len(data.test)]))
    choose_blend(recipe, members[:1], data.train.labels)  # which may have fewer rows than all have
    started = time.perf_counter()
    *_, blended = choose_blend(recipe, members, data.train.labels)
    blended = with_copies(blended, data, recipe.copies, NO_NEAR_COPIES, recipe.max_train_rows)[0]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "submission.csv"
        write_submission(path, blended.test.argmax(1), data.example, recipe.form)
        check_submission(path, len(data.test), example_of(recipe, data))
    return time.perf_counter() - started


def example_of(recipe: Recipe, data: Competition) -> Path | None:
    """example_submission.csv, where the submission has its form."""
    return data.example if recipe.form == "auto" else None


def finish(context: RunContext) -> RunRecord:
    """The last lines: what the blend reaches, and whether the submission is in order; run.json is finished.

    Raises UserError where no member has finished: then there is nothing to submit.
    """
    with context.changing_record() as record:
        known = context.folder.read_results(context.member_names) | record.failed | record.skipped
        reason = "the process that trained it died; run the same command again to train it"
        lost = {name: reason for name in context.member_names if name not in known}
        record.failed |= lost
    record = context.folder.read_record()
    untrained = record.failed | record.skipped
    if not record.members:
        reasons = [f"{name}: {reason.removeprefix(f'{name}: ')}" for name, reason in untrained.items()]
        more = f"; and {len(reasons) - 2} more" if len(reasons) > 2 else ""
        raise UserError(f"no member has finished, so there is no submission ({'; '.join(reasons[:2])}{more})")
    with context.changing_record() as record:
        record.status, record.files = FINISHED, context.folder.digests()
    log_blend(context, record)
    for name in untrained:
        context.log(f"warning: {name} is missing{f': {lost[name]}' if name in lost else ', as said above'}")
    example = example_of(context.recipe, context.data)
    checked = check_submission(context.folder.submission, len(context.data.test), example)
    for warning in checked.warnings:
        context.log(f"warning: {warning}")
    context.log(f"submission: {context.folder.submission}")
    context.log(f"{checked.rows:,} rows, checked; {record.seconds:.0f} s in all")
    return record


def log_blend(context: RunContext, record: RunRecord) -> None:
    """What is blended, and what it reaches."""
    names, by_seed = record.ensemble.members, record.ensemble.accuracy_by_seed
    blended = ", ".join(names) if len(names) < 5 else f"{len(names)} members"
    folds = {training.fold for training in context.request.trainings if training.name in record.members}
    rows = sum(len(context.inputs.split.rows(fold)[1]) for fold in folds)
    for line in figures_table(record.ensemble.figures, rows) if record.ensemble.figures else ():
        context.log(line)
    method = f"{record.ensemble.method} of " if len(names) > 1 else ""
    context.log(f"{method}{blended}: {describe_accuracy(record.ensemble)}")
    if others := [name for name in record.members if name not in names]:
        context.log(f"not in the blend, which is more accurate without: {', '.join(others)}")
    for line in copies_lines(record.ensemble.labelled_copies, record.ensemble.near_copies, len(context.data.test)):
        context.log(line)
    if not by_seed:
        return
    values = [100 * value for value in by_seed.values()]
    spread = f"; mean {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} %" if len(values) > 1 else ""
    parts = ", ".join(f"{value:.2f} % with seed {seed}" for seed, value in zip(by_seed, values, strict=True))
    context.log(f"out-of-fold accuracy: {parts}{spread}; {context.folder.out_of_fold}")


def record_end(context: RunContext, error: BaseException) -> None:
    """How a run ended that did not end well, in log.txt and run.json; on the terminal the error itself says it."""
    status = INTERRUPTED if isinstance(error, Stopped) else FAILED
    context.log.to_file(f"{status}: {error or type(error).__name__}")
    with contextlib.suppress(OSError, UserError), context.changing_record() as record:  # the error itself says more
        record.status = status
