"""The command `explore`: what is in the competition's data, as a page and as a short text.

It reads what a run reads: of labels only those of training rows. `submit.score` is the only reader of test labels.
"""

from pathlib import Path

from src.config import Recipe
from src.data.candidates import named_folder
from src.data.competition import read_competition
from src.dataset import CLASS_NAMES
from src.errors import UserError
from src.report.copies import extra_copies, flat_rows
from src.report.explore_augment import augment_section
from src.report.explore_classes import (
    classes_section,
    files_section,
    mean_and_deviation,
    mean_faces_section,
    pixels_section,
    samples_section,
)
from src.report.explore_copies import copies_section, flat_section, near_copies_section
from src.report.explore_split import split_section, split_summary
from src.report.explored import Explored, examine
from src.report.numbers import counted, percent, ratio
from src.report.page import Page, Section, Terms, write_page

NAME = "explore.html"
SECTIONS = (
    files_section,
    classes_section,
    samples_section,
    mean_faces_section,
    pixels_section,
    copies_section,
    near_copies_section,
    flat_section,
    split_section,
    augment_section,
)


def explore(source: Path, output: Path, recipe: Recipe) -> str:
    """Reads the data below `source`, writes explore.html and figures/ into `output`; returns the summary.

    recipe: its split, its number of rows and its augmentation are shown. Raises UserError where there is no such data,
    or where the folder cannot be written.
    """
    data = read_competition(named_folder(source, recipe.data_folder))
    try:
        output.mkdir(parents=True, exist_ok=True)  # before the work
        found = examine(data, recipe)
        lines = summary(found)
        write_page(page_of(found, lines), output / NAME)
    except OSError as error:
        raise UserError(f"{output}: the page cannot be written ({error.strerror}).\nGive another --output.") from error
    return "\n".join([*(f"{subject}: {text}" for subject, text in lines.items()), f"page: {output / NAME}"])


def page_of(found: Explored, lines: dict[str, str]) -> Page:
    """The page: the summary, then all sections."""
    rest = {subject: text for subject, text in lines.items() if subject != "rows"}
    sections = [section(found) for section in SECTIONS]
    return Page("The data", f"{lines['rows']}.", [Section("Summary", [Terms(rest)]), *sections])


def summary(found: Explored) -> dict[str, str]:
    """The main figures: subject → text."""
    data, (train, test), counts = found.data, found.names, found.class_counts
    classes = (f"{name} {percent(count / counts.sum())}" for name, count in zip(CLASS_NAMES, counts, strict=True))
    pixels = " and ".join(mean_and_deviation(part.images) for part in (data.train, data.test))
    flat = [len(flat_rows(part.images)) for part in (data.train, data.test)]
    inside = [extra_copies(groups) for groups in (found.train_groups, found.test_groups)]
    leaked = f"{len(found.test_rows_in_train):,} of {test} are in {train} too"
    lines = {
        "rows": f"{len(data.train):,} faces in {train}, {len(data.test):,} in {test}",
        "classes": f"{', '.join(classes)}; the largest to the smallest is {ratio(found.imbalance)}",
        "gray values": f"{pixels} of 255 ({train} and {test})",
        "exact copies": f"{counted(inside[0], 'extra row')} in {train}, {inside[1]:,} in {test}; {leaked}",
        "conflicting labels": f"{counted(len(found.conflicting), 'group')} of copies in {train}",
        "near copies": f"{counted(len(found.near.pairs), 'pair')} of different images of one photograph",
        "flat images": f"{flat[0]:,} in {train}, {flat[1]:,} in {test}",
    }
    split = split_summary(found)
    return lines | ({"split": split} if split else {})
