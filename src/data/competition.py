"""Finds the competition's files, wherever they are mounted, and reads the same arrays from each of their forms.

A training run uses `read_competition`, which never reads the labels of the test data. Only the scorer uses
`read_labelled`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.bounded_io import list_files
from src.data.csv_decoder import Table, read_table
from src.data.image_folder import find_image_root, read_image_folder
from src.data.tar_reader import MEMBER, open_member
from src.errors import UserError

_MAX_LISTED = 20
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
    """All that a training run may see. The labels of `test` are always None.

    `example` is example_submission.csv, or None. `digest`, 16 hexadecimal digits, depends on the arrays, not on the
    form that they were read from.
    """

    train: Faces
    test: Faces
    files: tuple[Path, ...]
    example: Path | None
    digest: str


@dataclass(frozen=True)
class LabelledFaces:
    """Every row of a file with its label: usage uint8 (n,), 0 Training, 1 PublicTest, 2 PrivateTest."""

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    file: Path


@dataclass(frozen=True)
class Form:
    """A form of the data that has all rows with label and usage.

    find: its file or folder among all files, or None. read: that path and `hide_test_labels` → Table; raises UserError.
    """

    find: Callable[[list[Path]], Path | None]
    read: Callable[[Path, bool], Table]


@dataclass(frozen=True)
class Files:
    """The files below `folder`, shallowest first; None for what is not among them.

    pair: train.csv and test.csv. with_usage: the first of FORMS that is there, and its file or folder before it.
    """

    folder: Path
    all: list[Path]
    pair: tuple[Path, Path] | None
    with_usage: tuple[Path, Form] | None
    example: Path | None


def find_files(folder: Path) -> Files:
    """Searches `folder` by file name at every depth, since Kaggle has changed the names of the folders before.

    Raises UserError if the folder does not exist or has more than 500,000 files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.\nName the folder with the competition's files.")
    files = list_files(folder)
    pair = _find_pair(files)
    with_usage = next(((path, form) for form in FORMS if (path := form.find(files))), None)
    chosen = pair[0] if pair else with_usage and with_usage[0]
    beside = [file for file in files if chosen and file.parent == chosen.parent]
    return Files(folder, files, pair, with_usage, find_named("example_submission.csv")(beside + files))


def read_competition(folder: Path) -> Competition:
    """Reads train.csv with test.csv below `folder`, else the first of FORMS.

    All images are in main memory then, 2,304 bytes each (83 MB). Raises UserError if there are no such files, or if
    they are not in the competition's format.
    """
    files = find_files(folder)
    if files.pair:
        train, test = _read_csv(files.pair[0], ("emotion", "pixels")), _read_csv(files.pair[1], ("pixels",))
        return _make_competition(Faces(train.images, train.labels), test.images, files.pair, files.example)
    table, path = _read_with_usage(files, hide_test_labels=True)
    training = table.usage == 0
    order = np.concatenate([np.flatnonzero(table.usage == usage) for usage in (1, 2)])
    if not training.any() or not order.size:
        raise UserError(f"{path}: {training.sum():,} Training and {order.size:,} test rows; expected both.\n{_ATTACH}")
    train = Faces(table.images[training], table.labels[training])
    return _make_competition(train, table.images[order], (path,), files.example)


def read_labelled(folder: Path) -> LabelledFaces:
    """All rows with their labels, for scoring alone. Raises UserError if no file below `folder` has the test labels."""
    table, path = _read_with_usage(find_files(folder), hide_test_labels=False)
    return LabelledFaces(table.images, table.labels, table.usage, path)


def find_named(*names: str) -> Callable[[list[Path]], Path | None]:
    """A function that finds the first file with the first of these names, else with the next."""
    return lambda files: next((file for name in names for file in files if file.name == name), None)


def _find_pair(files: list[Path]) -> tuple[Path, Path] | None:
    """train.csv and test.csv: the first two in one folder, else the first of each."""
    tests = {file.parent: file for file in files if file.name == "test.csv"}
    trains = [file for file in files if file.name == "train.csv"]
    if not trains or not tests:
        return None
    together = next((file for file in trains if file.parent in tests), None)
    return (together, tests[together.parent]) if together else (trains[0], next(iter(tests.values())))


def _read_csv(path: Path, columns: tuple[str, ...], hide_test_labels: bool = True) -> Table:
    try:
        with path.open("rb") as stream:
            return read_table(stream, str(path), columns, hide_test_labels)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).\nCheck its permissions and its disk.") from error


def _read_with_usage(files: Files, hide_test_labels: bool) -> tuple[Table, Path]:
    """All rows of the first form that is there, and its file or folder."""
    if not files.with_usage:
        wanted = "the competition's data" if hide_test_labels else "a file with the labels of the test data"
        raise _not_found(files, wanted)
    path, form = files.with_usage
    return form.read(path, hide_test_labels), path


def _read_full_csv(path: Path, hide_test_labels: bool) -> Table:
    return _read_csv(path, ("emotion", "usage", "pixels"), hide_test_labels)


def _read_archive(path: Path, hide_test_labels: bool) -> Table:
    with open_member(path) as stream:
        return read_table(stream, f"{path}, {MEMBER}", ("emotion", "usage", "pixels"), hide_test_labels)


# The first form that is found is read.
FORMS = (
    Form(find_named("icml_face_data.csv", "fer2013.csv"), _read_full_csv),
    Form(find_named("fer2013.tar.gz", "fer2013.tgz", "fer2013.tar"), _read_archive),
    Form(find_image_root, read_image_folder),
)


def _not_found(files: Files, wanted: str) -> UserError:
    """An error that lists the files that are there, so that the user sees where the data is mounted."""
    names = [str(file.relative_to(files.folder)) for file in files.all[:_MAX_LISTED]]
    more = f", and {len(files.all) - _MAX_LISTED:,} more" if len(files.all) > _MAX_LISTED else ""
    found = ", ".join(names) + more if names else "no file at all"
    return UserError(f"{files.folder}: {wanted} is nowhere below this folder; there is: {found}.\n{_ATTACH}")


def _make_competition(train: Faces, test: np.ndarray, files: tuple[Path, ...], example: Path | None) -> Competition:
    digest = hashlib.sha256(repr((train.images.shape, test.shape)).encode())
    for part in (train.images, train.labels.astype("<i8"), test):
        digest.update(np.ascontiguousarray(part))
    return Competition(train, Faces(test, None), files, example, digest.hexdigest()[:16])
