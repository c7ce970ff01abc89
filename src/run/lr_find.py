"""The command `lr-find`: the learning-rate range test of one member of a recipe, on its data."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from src.config import Recipe
from src.errors import UserError
from src.report.lr_page import lr_curve, lr_page
from src.report.page import write_page
from src.run.context import Inputs, RunRequest
from src.run.prepare import read_inputs
from src.run.ranks import Process
from src.run.run_folder import refuse_run
from src.run.trainings import Training
from src.terminal import announce
from src.train.device import describe_device
from src.train.lr_range import HIGHEST, RangeTest, range_test

NAME = "lr-find.html"
MIN_STEPS, MAX_STEPS = 50, 10_000


@dataclass(frozen=True)
class LrRequest:
    """What the range test is asked to do. request: of a run that would train the recipe; its output is the page's.

    member: empty for the recipe's first.
    """

    request: RunRequest
    member: str = ""
    steps: int = 200


def find_lr(asked: LrRequest) -> str:
    """Does the range test; writes lr-find.html and figures/, and returns the suggestion in words.

    Raises UserError for an unknown member, for what would stop a run before its first epoch, and for an output folder
    that holds a run or cannot be written.
    """
    request = replace(asked.request, recipe=one_member(asked))
    output, training = request.output, request.trainings[0]
    claim(output)
    inputs = read_inputs(request, Process())
    device = describe_device(str(inputs.device))
    announce(f"up to {asked.steps} steps of {training.base} on {device} …", sys.stdout)
    found = range_test(inputs.train_job(training), asked.steps)
    lines = describe(training, found)
    curve = lr_curve((found.lrs, found.losses, found.smoothed), marks(training, found))
    page = lr_page(f"Learning rate of {training.base}", lines[0], curve, facts(found), settings(training, inputs))
    try:
        write_page(page, output / NAME)
    except OSError as error:
        raise not_writable(output, error) from error
    return "\n".join([*lines, f"page: {output / NAME}"])


def one_member(asked: LrRequest) -> Recipe:
    """The recipe with the member that is asked for alone."""
    recipe = asked.request.recipe
    members = {member.name: member for member in recipe.members}
    if not MIN_STEPS <= asked.steps <= MAX_STEPS:
        raise UserError(f"--steps {asked.steps}: give {MIN_STEPS} to {MAX_STEPS:,}")
    name = asked.member or recipe.members[0].name
    if name not in members:
        raise UserError(f"--member {name}: recipe {recipe.name} has {', '.join(members)}")
    return replace(recipe, members=(members[name],))


def claim(output: Path) -> None:
    """Makes the folder; raises UserError where it holds a run or cannot be written."""
    refuse_run(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(output, error) from error


def not_writable(output: Path, error: OSError) -> UserError:
    return UserError(f"{output}: the page cannot be written ({error.strerror}).\nGive another --output.")


def describe(training: Training, found: RangeTest) -> list[str]:
    """The suggestion for people, then how the test ended."""
    ended = f"exploded at {found.lrs[-1]:.2g}" if found.exploded else f"did not explode up to {HIGHEST:g}"
    end = f"{len(found.lrs)} steps, the loss {ended}; the recipe has lr={training.member.lr:g}"
    if (suggested := found.suggestion()) is None:
        return [f"no suggestion for {training.base}: the loss falls at no learning rate", end]
    lr, reason = suggested
    return [f"suggested for {training.base}: lr={lr:.1e} ({reason})", end]


def marks(training: Training, found: RangeTest) -> dict[str, float]:
    """Rates by their name in the figure."""
    suggested = found.suggestion()
    first = {"suggested": suggested[0]} if suggested else {}
    return first | {"lowest loss": float(found.lrs[found.lowest]), "recipe": training.member.lr}


def facts(found: RangeTest) -> dict[str, str]:
    """What the test measured."""
    smoothed, low, steep = found.smoothed, found.lowest, found.steepest
    return {
        "lowest smoothed loss": f"{smoothed[low]:.3f} at {found.lrs[low]:.2e}",
        "steepest descent": f"at {found.lrs[steep]:.2e}",
        "a tenth of the lowest": f"{found.lrs[low] / 10:.2e}",
        "last learning rate": f"{found.lrs[-1]:.2e}",
        "steps": str(len(found.lrs)),
    }


def settings(training: Training, inputs: Inputs) -> dict[str, str]:
    """What was tested."""
    member = training.member
    rows = len(inputs.split.rows(training.fold)[0])
    return {
        "network": member.network,
        "optimizer": member.optimizer,
        "batch_size": str(member.batch_size),
        "weight_decay": f"{member.weight_decay:g}",
        "lr of the recipe": f"{member.lr:g}",
        "rows": f"{rows:,}",
        "device": describe_device(str(inputs.device)),
    }
