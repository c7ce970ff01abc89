"""A run's report: report.html in its folder, at the end of each run and by the command `report`.

A section that fails becomes a line in the page and in the log; the others are shown.
"""

import math
from collections.abc import Callable
from pathlib import Path

from src.data.competition import Competition, read_competition
from src.errors import UserError
from src.report.numbers import counted, percent
from src.report.page import Notice, Page, Section, write_page
from src.report.run_attention import attention_blocks, attention_history_blocks
from src.report.run_blend import blend_blocks
from src.report.run_classes import calibration_blocks, classes_blocks, confusion_blocks
from src.report.run_curves import curves_blocks
from src.report.run_faces import errors_blocks, label_errors_blocks
from src.report.run_files import RunFiles, dict_of, read_run, texts_of
from src.report.run_summary import members_blocks, missing_blocks, settings_blocks, terms_blocks

NAME = "report.html"
FIGURES = 8  # of every report; each member adds a confusion matrix
# Heading → the blocks below it. Without blocks a section is left out.
SECTIONS: dict[str, Callable[[RunFiles], list]] = {
    "What is missing": missing_blocks,
    "Members": members_blocks,
    "What ran": settings_blocks,
    "Epoch by epoch": curves_blocks,
    "Confusion matrices": confusion_blocks,
    "By class": classes_blocks,
    "Calibration": calibration_blocks,
    "The blend": blend_blocks,
    "Right and wrong": errors_blocks,
    "Likely label errors": label_errors_blocks,
    "Where the networks look": attention_blocks,
    "How attention forms": attention_history_blocks,
    "What the figures mean": terms_blocks,
}


def report_command(folder: Path, source: Path, output: Path | None) -> str:
    """Reads a run's folder and the competition's files below `source`, writes the report, returns what to print.

    output: where the page goes; None: into the run's folder. Raises UserError where the folder holds nothing of a run,
    or where the page cannot be written.
    """
    data, problem = None, ""
    try:
        data = read_competition(source)
    except UserError as error:
        problem = f"No labels and no faces are shown: {str(error).splitlines()[0]}."
    run = read_run(folder, data, problem)
    faults = write_report(run, output or folder)
    lines = [f"missing: {line}" for line in run.problems] + [f"warning: {line}" for line in faults]
    return "\n".join([*lines, f"page: {(output or folder) / NAME}"])


def report_run(folder: Path, data: Competition, left: Callable[[], float] = lambda: math.inf) -> list[str]:
    """Writes the report into the folder of a run that has ended; returns what failed, a line each.

    left: seconds that may still be used; when they are up the remaining sections are left out.
    """
    return write_report(read_run(folder, data), folder, left)


def write_report(run: RunFiles, output: Path, left: Callable[[], float] = lambda: math.inf) -> list[str]:
    """Writes report.html and figures/ into `output`; returns what failed. Raises UserError where it cannot write."""
    sections, faults = make_sections(run, left)
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_page(Page(title(run), summary(run), sections), output / NAME)
    except OSError as error:
        raise UserError(f"{output}: the report cannot be written ({error.strerror}).\nGive --output.") from error
    return faults


def make_sections(run: RunFiles, left: Callable[[], float]) -> tuple[list[Section], list[str]]:
    """The sections, and what failed, a line each. left: see `report_run`."""
    sections, faults = [], []
    for heading, make in SECTIONS.items():
        try:
            blocks = make(run) if left() > 0 else [Notice("Left out: the time was up.")]
        except Exception as error:  # a damaged run, or a defect: the other sections do not depend on it
            fault = f"{type(error).__name__}: {error}"
            faults.append(f"the section {heading} of the report failed ({fault})")
            blocks = [Notice(f"This section could not be made ({fault}).")]
        sections += [Section(heading, blocks)] if blocks else []
    return sections, faults


def title(run: RunFiles) -> str:
    """The recipe's name, else the folder's."""
    recipe = {} if run.record.get("blend") else dict_of(run.record, "recipe")
    name, seed = recipe.get("name"), f"seed {recipe.get('seed')}"
    if recipe.get("seeds", "none") != "none":
        seed = f"seeds {recipe['seeds']}"
    return f"{name}, {seed}" if isinstance(name, str) and name else run.folder.resolve().name


def summary(run: RunFiles) -> str:
    """One sentence: what the submission's blend reaches."""
    found = dict_of(run.record, "ensemble")
    accuracy, macro = found.get("valid_accuracy"), found.get("valid_f1")
    if not isinstance(accuracy, float) or not isinstance(macro, float):
        return "No member has finished."
    if math.isnan(accuracy):
        return "Not validated: there are no validation rows."
    members = counted(len(texts_of(found.get("members"))), "member")
    return f"{percent(accuracy)} of the validation rows, macro-F1 {percent(macro)}, by {members}."
