"""Finds the competition's files, wherever they are mounted, and reads the same arrays from each of their forms.

A training run uses `read_competition`, which never reads the labels of the test data. Only the scorer uses
`read_labelled`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.bounded_io import list_files
from src.data.csv_decoder import Table, read_table
from src.data.image_folder import find_image_roots, read_image_folder
from src.data.tar_reader import MEMBER, open_member
from src.errors import UserError

_COLUMNS = ("emotion", "usage", "pixels")
_ARCHIVES = ("fer2013.tar.gz", "fer2013.tgz", "fer2013.tar")
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
class Files:
    """The files below `folder`, shallowest first, and the chosen one of each form or None."""

    folder: Path
    all: list[Path]
    pair: tuple[Path, Path] | None
    full: Path | None
    archive: Path | None
    images: Path | None
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
    full = _find_first(files, "icml_face_data.csv") or _find_first(files, MEMBER)
    archive = next(filter(None, (_find_first(files, name) for name in _ARCHIVES)), None)
    images = next(iter(find_image_roots(files)), None)
    chosen = pair[0] if pair else full or archive
    beside = [file for file in files if chosen and file.parent == chosen.parent]
    example = _find_first(beside + files, "example_submission.csv")
    return Files(folder, files, pair, full, archive, images, example)


def read_competition(folder: Path) -> Competition:
    """Reads train.csv with test.csv, else a file with Usage, else the folder form, below `folder`.

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


def _find_first(files: list[Path], name: str) -> Path | None:
    return next((file for file in files if file.name == name), None)


def _find_pair(files: list[Path]) -> tuple[Path, Path] | None:
    """train.csv and test.csv: the first two in one folder, else the first of each."""
    tests = {file.parent: file for file in files if file.name == "test.csv"}
    trains = [file for file in files if file.name == "train.csv"]
    if not trains or not tests:
        return None
    together = next((file for file in trains if file.parent in tests), None)
    return (together, tests[together.parent]) if together else (trains[0], next(iter(tests.values())))


def _read_csv(path: Path, columns: tuple[str, ...], *, hide_test_labels: bool = True) -> Table:
    try:
        with path.open("rb") as stream:
            return read_table(stream, str(path), columns, hide_test_labels=hide_test_labels)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).\nCheck its permissions and its disk.") from error


def _read_with_usage(files: Files, *, hide_test_labels: bool) -> tuple[Table, Path]:
    """The first form that has labels and usage, and its file or folder."""
    if files.full:
        return _read_csv(files.full, _COLUMNS, hide_test_labels=hide_test_labels), files.full
    if files.archive:
        with open_member(files.archive) as stream:
            name = f"{files.archive}, {MEMBER}"
            return read_table(stream, name, _COLUMNS, hide_test_labels=hide_test_labels), files.archive
    if files.images:
        return read_image_folder(files.images, files.all, hide_test_labels=hide_test_labels), files.images
    raise _not_found(files, "the competition's data" if hide_test_labels else "a file with the labels of the test data")


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
