"""Finds the competition's files, wherever they are mounted, and reads the same arrays from each of their forms.

A training run uses `read_competition`, which never reads the labels of the test data. Only the scorer uses
`read_labelled`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.data.candidates import (
    ATTACH,
    PAIR,
    Candidate,
    choose_example,
    find_files,
    find_named,
    first_line,
    first_that_fits,
    why_none_fits,
)
from src.data.csv_decoder import Table, read_table
from src.data.image_folder import find_image_roots, read_image_folder
from src.data.tar_reader import MEMBER, is_tar, open_member
from src.dataset import CLASS_NAMES
from src.errors import UserError

_WITH_USAGE = ("emotion", "usage", "pixels")
_OF_PAIR = (("emotion", "pixels"), ("pixels",))


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

    digest: 16 hexadecimal digits, which depend on the arrays, not on the form that they were read from. passed_over:
    a line for each file that came before these, or has the same name, and does not fit.
    """

    train: Faces
    test: Faces
    files: tuple[Path, ...]
    example: Path | None
    digest: str
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledFaces(Faces):
    """Every row of a file with its label: usage uint8 (n,), 0 Training, 1 PublicTest, 2 PrivateTest."""

    usage: np.ndarray
    file: Path


class Form(NamedTuple):
    """A form of the data that has all rows with label and usage."""

    find: Callable[[list[Path]], list[Path]]  # the files or folders that may hold it, among all files
    read: Callable[[Path, bool], Table]  # of that path and `hide_test_labels`; raises UserError


def find_pairs(files: list[Path], refused: list[UserError]) -> list[tuple[Path, Path]]:
    """train.csv and test.csv with the right columns: those in one folder, else the first of each.

    Adds to `refused` why others are not among them.
    """
    trains, tests = (
        [file for file in files if file.name == name and _has_columns(file, columns, refused)]
        for name, columns in zip(PAIR, _OF_PAIR, strict=True)
    )
    for one, other in ((trains, PAIR[1]), (tests, PAIR[0])):
        if one and not find_named(other)(files):
            refused.append(UserError(f"{one[0]}: it needs a {other}, and there is none.\n{ATTACH}"))
    pairs = [(file, file.with_name(PAIR[1])) for file in trains if file.with_name(PAIR[1]) in tests]
    return pairs or list(zip(trains[:1], tests[:1], strict=False))


def read_competition(source: Path) -> Competition:
    """Reads train.csv with test.csv below the folder `source`, else the first of FORMS; of several the first that fits.

    source: also a data file itself, under any name, or one of the pair. All images are in main memory then, 2,304 bytes
    each (83 MB). Raises UserError if there are no such files, or if none is in the competition's format.
    """
    files, refused = find_files(source), []
    pairs = find_pairs(files, refused)
    candidates = [Candidate(pair, partial(_read_pair, *pair)) for pair in pairs]
    if not (source.is_file() and source.name in PAIR):
        candidates += [Candidate((path,), partial(_read_as_pair, form, path)) for form, path in _find(source, files)]
    found = first_that_fits(candidates, refused)
    if found is None:
        raise why_none_fits(source, files, refused, "the competition's data")
    (train, test), used = found
    example, others = choose_example(files, used[0].parent, len(test))
    later = pairs[pairs.index(used) + 1 :] if used in pairs else []
    unused = [f"{pair[0]}: fits too; set data_folder to read it" for pair in later]
    passed_over = (*map(first_line, refused), *unused, *others)
    return Competition(train, Faces(test, None), used, example, _digest(train, test), passed_over)


def read_labelled(source: Path, images: np.ndarray | None = None) -> LabelledFaces:
    """All rows with their labels, for scoring alone.

    images: test images, uint8 (n, 48, 48), of which the file must have one at least. Raises UserError if no file below
    `source` has such labels.
    """
    tests = None if images is None else {image.tobytes() for image in images}
    files, refused = find_files(source), []
    candidates = [
        Candidate((path,), partial(_read_test_labels, form, path, tests)) for form, path in _find(source, files)
    ]
    found = first_that_fits(candidates, refused)
    if found is None:
        raise why_none_fits(source, files, refused, "a file with the labels of the test data")
    table, (path,) = found
    return LabelledFaces(table.images, table.labels, table.usage, path)


def _digest(train: Faces, test: np.ndarray) -> str:
    digest = hashlib.sha256(repr((train.images.shape, test.shape)).encode())
    for part in (train.images, train.labels.astype("<i8"), test):
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()[:16]


def _find(source: Path, files: list[Path]) -> list[tuple[Form, Path]]:
    """What may hold all rows, in the order of FORMS. A file that is named itself is told by its content."""
    found = [(form, path) for form in FORMS for path in form.find(files)]
    if found or not source.is_file() or source.name in PAIR:
        return found
    return [(ARCHIVE if is_tar(source) else FULL_CSV, source)]


def _read_pair(train: Path, test: Path) -> tuple[Faces, np.ndarray]:
    table = _read_csv(train, _OF_PAIR[0])
    return _with_classes(Faces(table.images, table.labels), train), _read_csv(test, _OF_PAIR[1]).images


def _read_as_pair(form: Form, path: Path) -> tuple[Faces, np.ndarray]:
    """The training faces, and the images of the test rows: public, then private."""
    table = form.read(path, True)
    training = table.usage == 0
    order = np.concatenate([np.flatnonzero(table.usage == usage) for usage in (1, 2)])
    if not training.any() or not order.size:
        counts = f"{training.sum():,} Training and {order.size:,} test rows"
        raise UserError(f"{path}: {counts}; expected both.\n{ATTACH}")
    return _with_classes(Faces(table.images[training], table.labels[training]), path), table.images[order]


def _with_classes(train: Faces, path: Path) -> Faces:
    if (train.labels == train.labels[0]).all():
        only = f"label {train.labels[0]} ({CLASS_NAMES[train.labels[0]]})"
        raise UserError(f"{path}: all {len(train):,} training rows have {only}; expected several classes.\n{ATTACH}")
    return train


def _read_test_labels(form: Form, path: Path, tests: set[bytes] | None) -> Table:
    table = form.read(path, False)
    if not table.usage.any():
        raise UserError(f"{path}: it has no test rows.\n{ATTACH}")
    if tests is not None and not any(image.tobytes() in tests for image in table.images[table.usage > 0]):
        what = f"No image of test.csv is among the test rows of {path}"
        raise UserError(f"{what}.\nPut files of one competition there.")
    return table


def _has_columns(path: Path, columns: tuple[str, ...], refused: list[UserError]) -> bool:
    """Whether the header and the first row fit."""
    try:
        _read_csv(path, columns, rows=1)
    except UserError as error:
        refused.append(error)
        return False
    return True


def _read_csv(path: Path, columns: tuple[str, ...], hide_test_labels: bool = True, rows: int | None = None) -> Table:
    try:
        with path.open("rb") as stream:
            return read_table(stream, str(path), columns, hide_test_labels, rows)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).\nCheck its permissions and its disk.") from error


def _read_full_csv(path: Path, hide_test_labels: bool) -> Table:
    return _read_csv(path, _WITH_USAGE, hide_test_labels)


def _read_archive(path: Path, hide_test_labels: bool) -> Table:
    with open_member(path) as stream:
        return read_table(stream, f"{path}, {MEMBER}", _WITH_USAGE, hide_test_labels)


FULL_CSV = Form(find_named("icml_face_data.csv", "fer2013.csv"), _read_full_csv)
ARCHIVE = Form(find_named("fer2013.tar.gz", "fer2013.tgz", "fer2013.tar"), _read_archive)

# The first that fits is read.
FORMS = (
    FULL_CSV,
    ARCHIVE,
    Form(find_image_roots, read_image_folder),
)
