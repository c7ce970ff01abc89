"""Finds the competition's files, wherever they are mounted, and reads the same arrays from each of their forms.

A training run uses `read_competition`, which never reads the labels of the test data. Only the scorer uses
`read_labelled`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.bounded_io import list_files
from src.data.csv_decoder import Table, read_table
from src.data.image_folder import find_image_root, read_image_folder
from src.data.tar_reader import MEMBER, open_member
from src.errors import UserError

_MAX_LISTED = 20
_WITH_USAGE = ("emotion", "usage", "pixels")
_ATTACH = (
    "Attach the competition to the kernel or download its files: train.csv with test.csv, icml_face_data.csv, "
    "fer2013.csv, fer2013.tar.gz, or train/<class>/ with test/<class>/."
)


@dataclass(frozen=True)
class Faces:
    """images uint8 (n, 48, 48); labels int64 (n,) that index CLASS_NAMES, or None."""

    images: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Competition:
    """All that a training run may see; test.labels is None. example: example_submission.csv, or None.

    digest: 16 hexadecimal digits, which depend on the arrays, not on the form that they were read from.
    """

    train: Faces
    test: Faces
    files: tuple[Path, ...]
    example: Path | None
    digest: str


@dataclass(frozen=True)
class LabelledFaces(Faces):
    """Every row of a file with its label: usage uint8 (n,), 0 Training, 1 PublicTest, 2 PrivateTest."""

    usage: np.ndarray
    file: Path


class Form(NamedTuple):
    """A form of the data that has all rows with label and usage."""

    find: Callable[[list[Path]], Path | None]  # its file or folder among all files
    read: Callable[[Path, bool], Table]  # of that path and `hide_test_labels`; raises UserError


def find_files(folder: Path) -> list[Path]:
    """All files below `folder`, shallowest first. They are told apart by name: Kaggle has changed the folders before.

    Raises UserError if the folder does not exist or has more than 500,000 files.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.\nName the folder with the competition's files.")
    return list_files(folder)


def find_named(*names: str) -> Callable[[list[Path]], Path | None]:
    """A function that finds the first file with the first of these names, else with the next."""
    return lambda files: next((file for name in names for file in files if file.name == name), None)


def find_pair(files: list[Path]) -> tuple[Path, Path] | None:
    """train.csv and test.csv: the first two in one folder, else the first of each; None if one is missing."""
    tests = {file.parent: file for file in files if file.name == "test.csv"}
    trains = [file for file in files if file.name == "train.csv"]
    if not trains or not tests:
        return None
    train = next((file for file in trains if file.parent in tests), trains[0])
    return train, tests.get(train.parent) or next(iter(tests.values()))


def read_competition(folder: Path) -> Competition:
    """Reads train.csv with test.csv below `folder`, else the first of FORMS.

    All images are in main memory then, 2,304 bytes each (83 MB). Raises UserError if there are no such files, or if
    they are not in the competition's format.
    """
    files = find_files(folder)
    used = find_pair(files)
    if used:
        table, test = _read_csv(used[0], ("emotion", "pixels")), _read_csv(used[1], ("pixels",)).images
        train = Faces(table.images, table.labels)
    else:
        table, path = _read_with_usage(folder, files, hide_test_labels=True)
        training, used = table.usage == 0, (path,)
        order = np.concatenate([np.flatnonzero(table.usage == usage) for usage in (1, 2)])
        if not training.any() or not order.size:
            counts = f"{training.sum():,} Training and {order.size:,} test rows"
            raise UserError(f"{path}: {counts}; expected both.\n{_ATTACH}")
        train, test = Faces(table.images[training], table.labels[training]), table.images[order]
    beside = [file for file in files if file.parent == used[0].parent]
    example = find_named("example_submission.csv")(beside + files)
    return Competition(train, Faces(test, None), used, example, _digest(train, test))


def read_labelled(folder: Path) -> LabelledFaces:
    """All rows with their labels, for scoring alone. Raises UserError if no file below `folder` has the test labels."""
    table, path = _read_with_usage(folder, find_files(folder), hide_test_labels=False)
    return LabelledFaces(table.images, table.labels, table.usage, path)


def _digest(train: Faces, test: np.ndarray) -> str:
    digest = hashlib.sha256(repr((train.images.shape, test.shape)).encode())
    for part in (train.images, train.labels.astype("<i8"), test):
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()[:16]


def _read_with_usage(folder: Path, files: list[Path], hide_test_labels: bool) -> tuple[Table, Path]:
    """All rows of the first form that is there, and its file or folder. The error lists the files that are there."""
    for form in FORMS:
        if path := form.find(files):
            return form.read(path, hide_test_labels), path
    wanted = "the competition's data" if hide_test_labels else "a file with the labels of the test data"
    names = ", ".join(str(file.relative_to(folder)) for file in files[:_MAX_LISTED]) or "no file at all"
    more = f", and {len(files) - _MAX_LISTED:,} more" if len(files) > _MAX_LISTED else ""
    raise UserError(f"{folder}: {wanted} is nowhere below this folder; there is: {names}{more}.\n{_ATTACH}")


def _read_csv(path: Path, columns: tuple[str, ...], hide_test_labels: bool = True) -> Table:
    try:
        with path.open("rb") as stream:
            return read_table(stream, str(path), columns, hide_test_labels)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).\nCheck its permissions and its disk.") from error


def _read_full_csv(path: Path, hide_test_labels: bool) -> Table:
    return _read_csv(path, _WITH_USAGE, hide_test_labels)


def _read_archive(path: Path, hide_test_labels: bool) -> Table:
    with open_member(path) as stream:
        return read_table(stream, f"{path}, {MEMBER}", _WITH_USAGE, hide_test_labels)


# The first form that is found is read.
FORMS = (
    Form(find_named("icml_face_data.csv", "fer2013.csv"), _read_full_csv),
    Form(find_named("fer2013.tar.gz", "fer2013.tgz", "fer2013.tar"), _read_archive),
    Form(find_image_root, read_image_folder),
)
