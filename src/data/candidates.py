"""Chooses among files that may be the competition's: the first whose content fits, whatever lies before it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from src.bounded_io import archive_kind, list_files, read_bytes
from src.data.csv_decoder import UNPACK, DamagedError
from src.errors import UserError

PAIR = ("train.csv", "test.csv")
EXAMPLE = "example_submission.csv"

_MAX_LISTED = 20
_MAX_EXAMPLE_BYTES = 2_000_000  # of 7,178 rows it has 56,000
_MAX_OPENED = 1_000  # files that are opened to see whether they are archives
_ZIPS = frozenset({".npz", ".pt", ".pth", ".xlsx", ".docx", ".whl"})  # zip archives that are no packed data
ATTACH = (
    "Attach the competition to the kernel or download its files: train.csv with test.csv, icml_face_data.csv, "
    "fer2013.csv, fer2013.tar.gz, or train/<class>/ with test/<class>/."
)


class Candidate(NamedTuple):
    """Files, or a folder, that may hold the data; `read` raises UserError where they do not."""

    paths: tuple[Path, ...]
    read: Callable[[], object]


def find_files(source: Path) -> list[Path]:
    """All files below a folder, shallowest first. They are told apart by name: Kaggle has changed the folders before.

    Of a file it is the file alone, and of train.csv or test.csv all files of its folder. Raises UserError if `source`
    does not exist or has more than 500,000 files.
    """
    if source.is_file():
        return sorted(f for f in source.parent.iterdir() if f.is_file()) if source.name in PAIR else [source]
    if not source.is_dir():
        raise UserError(f"{source}: there is no such folder or file.\nName the folder with the competition's files.")
    return list_files(source)


def find_named(*names: str) -> Callable[[list[Path]], list[Path]]:
    """A function that finds the files with the first of these names, then those with the next."""
    return lambda files: [file for name in names for file in files if file.name == name]


def named_folder(source: Path, name: str) -> Path:
    """The folder or file `name` below `source`, else the first folder whose path ends in it; "auto": `source` itself.

    So `fer2013` is found wherever a kernel has mounted it. Raises UserError, with the folders, if there is none.
    """
    if name == "auto" or (source / name).exists():
        return source if name == "auto" else source / name
    depth, wanted = len(source.parts), Path(name).parts
    parents = (folder for file in list_files(source) for folder in file.parents)
    folders = list(dict.fromkeys(folder for folder in parents if len(folder.parts) > depth))
    for folder in sorted(folders, key=lambda folder: len(folder.parts)):
        if wanted and folder.parts[depth:][-len(wanted) :] == wanted:
            return folder
    listed = _listed([str(folder.relative_to(source)) for folder in folders], "no folder with files")
    raise UserError(
        f"data_folder={name}: there is no such folder below {source}; there is: {listed}.\nName one, or set auto."
    )


def first_that_fits(candidates: Iterable[Candidate], refused: list[UserError]) -> tuple | None:
    """What the first candidate that can be read holds, and its paths. Adds to `refused` why others do not fit.

    A damaged file is not replaced by other files of its folder: they hold the same data, and the file can be mended.
    """
    damaged = set()
    for candidate in candidates:
        first = candidate.paths[0]
        folder = first if first.is_dir() else first.parent
        if folder in damaged:
            continue
        try:
            return candidate.read(), candidate.paths
        except UserError as error:
            refused.append(error)
            if isinstance(error, DamagedError):
                damaged.add(folder)
    return None


def first_line(error: UserError) -> str:
    """The reason without the advice."""
    return str(error).split("\n")[0]


def why_none_fits(source: Path, files: list[Path], refused: list[UserError], wanted: str) -> UserError:
    """The error to raise where no candidate fits: the reason of each, or the files that are there instead."""
    for error in refused:
        if isinstance(error, DamagedError):
            return error
    reasons = [first_line(error).removesuffix(".") for error in refused]
    others = (file for file in files[:_MAX_OPENED] if not any(reason.startswith(f"{file}:") for reason in reasons))
    packed = [f"{file} is a {kind} archive" for file in others if (kind := _packed(file))]
    advices = {UNPACK} if packed else {str(error).partition("\n")[2] for error in refused}
    if reasons and len(reasons + packed) == 1:
        return refused[0]
    if reasons:
        text = f"none of the files here fits. {'; '.join((reasons + packed)[:_MAX_LISTED])}"
        return UserError(f"{source}: {text}.\n{advices.pop() if len(advices) == 1 else ATTACH}")
    if packed:
        return UserError(f"{source}: {wanted} is still packed: {_listed(packed, '')}.\n{UNPACK}")
    names = _listed([str(file.relative_to(source)) for file in files], "no file at all")
    return UserError(f"{source}: {wanted} is nowhere below this folder; there is: {names}.\n{ATTACH}")


def choose_example(files: list[Path], folder: Path, rows: int) -> tuple[Path | None, list[str]]:
    """The example_submission.csv of `rows` rows, first that in `folder`; and why others are passed over.

    If none has as many rows, it is the one in `folder`, which is the competition's, or None.
    """
    nearest, reasons = folder / EXAMPLE, []
    for file in dict.fromkeys([nearest] * nearest.is_file() + find_named(EXAMPLE)(files)):
        try:
            lines = sum(bool(line.strip()) for line in read_bytes(file, _MAX_EXAMPLE_BYTES, "").splitlines())
        except UserError as error:
            reasons.append(first_line(error))
            continue
        if lines - rows in (0, 1):  # without a header, and with one
            return file, reasons
        reasons.append(f"{file}: {lines:,} lines; the test set has {rows:,} rows")
    return (nearest, reasons[1:]) if nearest.is_file() else (None, reasons)


def _packed(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return None if file.suffix in _ZIPS else archive_kind(stream.read(8))
    except OSError:
        return None


def _listed(names: list[str], none: str) -> str:
    more = f", and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return (", ".join(names[:_MAX_LISTED]) or none) + more
