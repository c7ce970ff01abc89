"""The competition's faces: found by file wherever they are mounted, and the same arrays from whichever form they have.

`read` is what a training run may see; the labels of the test data do not leave the parser there. `read_labelled` is for
the scorer alone.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.bounded_io import walk
from src.data.csv_decoder import Table, read_table
from src.data.image_folder import read_folder, roots
from src.data.tar_reader import MEMBER, open_member
from src.errors import UserError

__all__ = ["Competition", "Faces", "Files", "Labelled", "find", "read", "read_labelled"]

_FULL = ("emotion", "usage", "pixels")
_ARCHIVES = ("fer2013.tar.gz", "fer2013.tgz", "fer2013.tar")
_LISTED = 20
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

    `example` is example_submission.csv where there is one. `digest`, 16 hexadecimal digits, names the data and not the
    form that it was read from.
    """

    train: Faces
    test: Faces
    files: tuple[Path, ...]
    example: Path | None
    digest: str


@dataclass(frozen=True)
class Labelled:
    """Every row of a file with its label: usage uint8 (n,), 0 Training, 1 PublicTest, 2 PrivateTest."""

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    file: Path


@dataclass(frozen=True)
class Files:
    """What `find` found below `folder`: every file, shallowest first, and the chosen one of each form or None."""

    folder: Path
    every: list[Path]
    pair: tuple[Path, Path] | None
    full: Path | None
    archive: Path | None
    images: Path | None
    example: Path | None


def find(folder: Path) -> Files:
    """Searches `folder` by file name at every depth: the names of the folders have changed, and will again.

    UserError if there is no such folder, or if more than 500,000 files are below it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.\nName the folder that holds the competition's files.")
    every = walk(folder)
    pair = _pair(every)
    full = _first(every, "icml_face_data.csv") or _first(every, MEMBER)
    archive = next(filter(None, (_first(every, name) for name in _ARCHIVES)), None)
    images = next(iter(roots(every)), None)
    chosen = pair[0] if pair else full or archive
    example = _beside(every, "example_submission.csv", chosen)
    return Files(folder, every, pair, full, archive, images, example)


def read(folder: Path) -> Competition:
    """The competition below `folder`: train.csv with test.csv, else a file with Usage, else the folder form.

    All images are in main memory then, 2,304 bytes each (83 MB).
    UserError if there is none, or if what is there is not in the competition's format.
    """
    files = find(folder)
    if files.pair:
        train, test = _csv(files.pair[0], ("emotion", "pixels")), _csv(files.pair[1], ("pixels",))
        return _competition(Faces(train.images, train.labels), test.images, files.pair, files.example)
    table, path = _with_usage(files, sealed=True)
    training = table.usage == 0
    order = np.concatenate([np.flatnonzero(table.usage == usage) for usage in (1, 2)])
    if not training.any() or not order.size:
        raise UserError(f"{path}: {training.sum():,} Training and {order.size:,} test rows; both are due.\n{_ATTACH}")
    train = Faces(table.images[training], table.labels[training])
    return _competition(train, table.images[order], (path,), files.example)


def read_labelled(folder: Path) -> Labelled:
    """All rows with their labels, for scoring alone. UserError if no file below `folder` has the labels of the test."""
    table, path = _with_usage(find(folder), sealed=False)
    return Labelled(table.images, table.labels, table.usage, path)


# ------------------------------------------------------------------------------------------ searching


def _first(files: list[Path], name: str) -> Path | None:
    return next((file for file in files if file.name == name), None)


def _beside(files: list[Path], name: str, neighbour: Path | None) -> Path | None:
    """The file of this name in the folder of `neighbour`, else the first one anywhere."""
    near = [file for file in files if neighbour and file.parent == neighbour.parent]
    return _first(near, name) or _first(files, name)


def _pair(files: list[Path]) -> tuple[Path, Path] | None:
    """train.csv and test.csv: the first two in one folder, else the first of each."""
    tests = {file.parent: file for file in files if file.name == "test.csv"}
    trains = [file for file in files if file.name == "train.csv"]
    if not trains or not tests:
        return None
    together = next((file for file in trains if file.parent in tests), None)
    return (together, tests[together.parent]) if together else (trains[0], next(iter(tests.values())))


def _nothing(files: Files, wanted: str) -> UserError:
    """The message, on two lines, that says what is there instead: the mounts move, and the user must see where to."""
    names = [str(file.relative_to(files.folder)) for file in files.every[:_LISTED]]
    more = f", and {len(files.every) - _LISTED:,} more" if len(files.every) > _LISTED else ""
    there = ", ".join(names) + more if names else "no file at all"
    return UserError(f"{files.folder}: {wanted} is nowhere below this folder; there is: {there}.\n{_ATTACH}")


# -------------------------------------------------------------------------------------------- reading


def _csv(path: Path, columns: tuple[str, ...], *, sealed: bool = True) -> Table:
    return _guarded(path, lambda: _csv_open(path, columns, sealed))


def _csv_open(path: Path, columns: tuple[str, ...], sealed: bool) -> Table:
    with path.open("rb") as stream:
        return read_table(stream, str(path), columns, sealed=sealed)


def _archived(path: Path, sealed: bool) -> Table:
    with open_member(path) as stream:
        return read_table(stream, f"{path}, {MEMBER}", _FULL, sealed=sealed)


def _guarded(path: Path, action: Callable[[], Table]) -> Table:
    try:
        return action()
    except OSError as bad:
        raise UserError(f"{path}: cannot be read ({bad.strerror}).\nLook at its permissions and its disk.") from bad


def _with_usage(files: Files, *, sealed: bool) -> tuple[Table, Path]:
    """The first form that has both labels and usage, and the file or folder that it is in."""
    if files.full:
        return _csv(files.full, _FULL, sealed=sealed), files.full
    if files.archive:
        return _archived(files.archive, sealed), files.archive
    if files.images:
        return read_folder(files.images, files.every, sealed=sealed), files.images
    raise _nothing(files, "the competition's data" if sealed else "a file with the labels of the test data")


def _competition(train: Faces, test: np.ndarray, files: tuple[Path, ...], example: Path | None) -> Competition:
    digest = hashlib.sha256(repr((train.images.shape, test.shape)).encode())
    for part in (train.images, train.labels.astype("<i8"), test):
        digest.update(np.ascontiguousarray(part))
    return Competition(train, Faces(test, None), files, example, digest.hexdigest()[:16])
