"""A page: title, sections of text, tables, figures and faces, as one HTML file that needs nothing beside it.

    page = Page("baseline", "66.19 % on the validation fold", [
        Section("Accuracy", [
            "A paragraph.",
            Table(("member", "accuracy"), [("compact_cnn", percent(0.6619))], "Each member alone."),
            draw("accuracy", "Validation accuracy by epoch.", plot),
            FaceGrid("errors", [Face(image, ("Fear", "91.20 %"))], "The most confident errors."),
        ]),
    ])
    write_page(page, folder / "report.html")      # and figures/accuracy.png, figures/errors.png beside it

A page has no script and loads nothing; its security policy forbids both. All text is escaped, whatever it holds. It
follows the system's light or dark colours, fits a screen of 390 pixels, where wide tables scroll in their box, and
prints.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from src.files import replacing
from src.report.faces import Face, FaceGrid
from src.report.figures import Figure
from src.report.template import TEMPLATE

_NUMBER = re.compile(r"[-+±−–]?[\d.,]*\d.*|–|")


@dataclass(frozen=True)
class Table:
    """Rows of texts, whole numbers (written with thousands commas) and faces. Columns of numbers are set to the right.

    fixed: the first column is a heading that stays in view while the table scrolls.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | int | Face]]
    caption: str = ""
    fixed: bool = True


@dataclass(frozen=True)
class Terms:
    """What words of the page mean: term → explanation."""

    meanings: Mapping[str, str]


@dataclass(frozen=True)
class Notice:
    """A paragraph that must not be overlooked: something is missing, or a figure must be read with care."""

    text: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in order; a str is a paragraph. Figures in a row share the width."""

    heading: str
    blocks: Sequence[str | Table | Figure | FaceGrid | Terms | Notice]


@dataclass(frozen=True)
class Page:
    """A title, one sentence that says the main thing, and sections."""

    title: str
    summary: str
    sections: Sequence[Section]


def write_page(page: Page, path: Path) -> None:
    """Writes the page to `path`, and each figure and grid of faces to figures/<name>.png beside it.

    Raises ValueError where two of them have one name, OSError where a file cannot be written.
    """
    blocks = [block for section in page.sections for block in section.blocks]
    pictures = [block for block in blocks if isinstance(block, Figure | FaceGrid)]
    names = [picture.name for picture in pictures]
    if len(set(names)) < len(names) or not all(re.fullmatch(r"[\w.-]+", name) for name in names):
        raise ValueError(f"figures need different names that can be those of files: {names}")
    folder = path.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        with replacing(folder / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png if isinstance(picture, Figure) else picture.png())
    with replacing(path) as temporary:
        temporary.write_bytes(render(page).encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"cell": _cell_text}
    environment.tests["face"] = lambda value: isinstance(value, Face)
    sections = [(section.heading, _grouped(section.blocks)) for section in page.sections]
    return environment.from_string(TEMPLATE).render(page=page, sections=sections, right_columns=_right_columns)


def _grouped(blocks: Sequence) -> list[tuple[str, list]]:
    """Consecutive blocks of one kind, with the kind's name."""
    return [(kind, list(group)) for kind, group in groupby(blocks, key=lambda block: type(block).__name__)]


def _cell_text(value: str | int) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _right_columns(table: Table) -> list[bool]:
    """Whether each column holds numbers only."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.header)
    return [
        bool(column)
        and all(isinstance(value, int) or (isinstance(value, str) and _NUMBER.fullmatch(value)) for value in column)
        for column in columns
    ]
