"""The report at the end of a run: after the submission, and never at its cost."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from src.config import Member
from src.data.competition import Competition
from src.dataset import CLASS_NAMES, IMAGE_SIZE, NUM_CLASSES
from src.models import create_for
from src.report.attention import maps_of
from src.report.figures import draw, heat_map
from src.report.run_attention import MEMBERS, RIGHT, WRONG
from src.report.run_report import FIGURES, NAME, report_run
from src.run.context import RunContext, RunRequest


def report_seconds(request: RunRequest) -> float:
    """Seconds to keep for the report, from one confusion matrix that is drawn now and the maps of untrained networks.

    0 without report or deadline.
    """
    if not request.report or math.isinf(request.budget.left()):
        return 0.0
    names, even = list(CLASS_NAMES), np.eye(NUM_CLASSES)
    times = [time.perf_counter()]
    try:
        for _ in range(2):  # the first one imports matplotlib
            draw("rehearsal", "", lambda axes: heat_map(axes, even, names, names, even.astype(str)))
            times.append(time.perf_counter())
        maps = attention_seconds(request)
    except Exception:  # the end of the run will say it; here nothing depends on it
        return 0.0
    first, second = np.diff(times)
    return float(first + 2 * second * (FIGURES + 1 + len(members_of_first_fold(request))) + 2 * maps)


def members_of_first_fold(request: RunRequest) -> list[Member]:
    """The trained members, of all folds those of the first: a report shows the folds of a member as one."""
    first = request.trainings[0]
    return [training.member for training in request.trainings if training.fold == first.fold]


def attention_seconds(request: RunRequest) -> float:
    """Seconds that the maps of where the networks look take, measured once for each of the networks."""
    shown = members_of_first_fold(request)[:MEMBERS]
    images, seconds = torch.zeros(RIGHT + WRONG, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8), {}
    for member in {(member.network, member.image_size): member for member in shown}.values():
        started = time.perf_counter()
        maps_of(create_for(member), images)
        seconds[member.network, member.image_size] = time.perf_counter() - started
    return sum(seconds[member.network, member.image_size] for member in shown)


def write_report(context: RunContext) -> None:
    """Writes report.html into the folder of a finished run. Raises nothing: what fails is a warning in the log."""
    left, needed = context.budget.left(), context.shared.report_seconds
    if not context.request.report:
        return
    if left < needed:
        words = f"{max(0, left):.0f} s are left and it takes about {needed:.0f} s; the command `report` makes it later"
        context.log(f"no {NAME}: {words}")
        return
    try_report(context.folder.path, context.data, context.log, context.budget.left)


def try_report(
    folder: Path, data: Competition, log: Callable[[str], None], left: Callable[[], float] = lambda: math.inf
) -> None:
    """Writes the report of a run or a blend; logs where it is, and what failed as warnings. Raises nothing."""
    try:
        faults = report_run(folder, data, left)
    except Exception as error:  # whatever it is: the submission is complete
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log(f"warning: no {NAME} ({reason}); the submission is complete")
        return
    for fault in faults:
        log(f"warning: {fault}")
    log(f"report: {folder / NAME}")
