"""What networks say of a user's pictures: lines for the terminal, and a page with faces, probabilities and maps."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.dataset import CLASS_NAMES
from src.report.attention import coloured, meanings, scaled
from src.report.faces import Face, FaceGrid, printable
from src.report.numbers import counted, percent
from src.report.page import Notice, Page, Section, Table, Terms

PICTURES, MEMBERS = 60, 4  # with maps on the page
EXPECTED = (
    "Expected is one centred face that fills the picture, as in FER2013. The kit looks for no face: it cuts the square "
    "in the picture's centre and resizes it to 48x48 gray pixels, which is all that a network sees."
)
_LINES, _NAME = 40, 46  # on the terminal: files, and the columns of a file's name
_CLASSES = 3  # below a face


@dataclass(frozen=True)
class Predicted:
    """files: the pictures; images: uint8 (n, 48, 48); blended: probabilities, float (n, 7); members: those of each
    member; maps: of some members, kind → float (m, 48, 48) of the first m pictures; left_out: file → reason; notes: in
    what this differs from the run's submission.
    """

    run: Path
    files: list[Path]
    images: np.ndarray
    blended: np.ndarray
    members: dict[str, np.ndarray]
    maps: dict[str, dict[str, np.ndarray]]
    left_out: dict[Path, str]
    notes: list[str]

    @property
    def warnings(self) -> list[str]:
        """A line for each file that is no picture, then the notes."""
        lines = [f"left out: {printable(str(file))}: {reason}" for file, reason in self.left_out.items()]
        return [*lines, *self.notes]


def best_classes(probs: np.ndarray) -> list[str]:
    """The most probable classes with their probabilities, the first one first. probs: float (7,)."""
    order = np.argsort(-probs, kind="stable")[:_CLASSES]
    return [f"{CLASS_NAMES[number]} {100 * probs[number]:.0f} %" for number in order]


def predicted_table(predicted: Predicted) -> list[str]:
    """The lines for the terminal: each picture with its two most probable classes, then what was left out."""
    lines = []
    for file, probs in list(zip(predicted.files, predicted.blended, strict=True))[:_LINES]:
        name, (first, second, *_) = printable(str(file)), best_classes(probs)
        name = name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
        lines.append(f"{name:{_NAME}} {first:14} {second}")
    more = len(predicted.files) - _LINES
    lines += [f"and {counted(more, 'picture')} more"] if more > 0 else []
    return [*lines, *predicted.warnings, EXPECTED]


def predicted_page(predicted: Predicted) -> Page:
    """The page: what is expected, the table, then each picture with its maps."""
    members = counted(len(predicted.members), "network")
    summary = (
        f"{counted(len(predicted.files), 'picture')}, by the mean of {members} of {printable(str(predicted.run))}."
    )
    kinds = [kind for maps in predicted.maps.values() for kind in maps]
    rest = len(predicted.files) - PICTURES
    more = [f"{counted(rest, 'picture')} more are in predictions.csv."] if rest > 0 else []
    notices = [Notice(f"{line[0].upper()}{line[1:]}.") for line in predicted.warnings]
    maps = [Terms(meanings(kinds))] if kinds else []
    pictures = Section("The pictures", [*maps, *_pictures(predicted), *more])
    return Page("Predictions", summary, [Section("Result", [EXPECTED, *notices, _table(predicted)]), pictures])


def _table(predicted: Predicted) -> Table:
    rows = [
        (printable(str(file)), CLASS_NAMES[probs.argmax()], *map(percent, probs))
        for file, probs in list(zip(predicted.files, predicted.blended, strict=True))[:PICTURES]
    ]
    return Table(("picture", "class", *CLASS_NAMES), rows, "The probability of each class.", fixed=False)


def _pictures(predicted: Predicted) -> Iterator[FaceGrid]:
    """A row for each picture: what the networks see, then the maps of each member with what it predicts."""
    for number, file in enumerate(predicted.files[:PICTURES]):
        image = predicted.images[number]
        faces = [Face(image, best_classes(predicted.blended[number]))]
        for name, maps in predicted.maps.items():
            said = best_classes(predicted.members[name][number])[0]
            faces += [Face(coloured(image, scaled(one[number])), (name, kind, said)) for kind, one in maps.items()]
        yield FaceGrid(f"picture-{number + 1}", faces, title=printable(str(file)))
