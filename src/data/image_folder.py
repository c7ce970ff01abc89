"""The image-folder form of the data: `train/<class>/Training_<n>.jpg`, `test/<class>/PublicTest_<n>.jpg` and so on.

Bounds: 200,000 images, each of at most a megabyte of file and 48x48 pixels: 1 GB of memory.

Rows are ordered by usage, then by n; so images that are named by their row number give the arrays of the CSV again.
"""

import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from src.data.csv_decoder import UNREAD, USAGES, Table
from src.dataset import CLASS_NAMES, IMAGE_SIZE
from src.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

_NAME = re.compile(rf"({'|'.join(USAGES)})_(\d{{1,18}})", re.ASCII)
_LABELS = {name.lower(): label for label, name in enumerate(CLASS_NAMES)}
_MODES = frozenset({"L", "RGB", "P"})
_IMAGES = 200_000  # FER2013 has 35,887
_FILE_LIMIT = 1_000_000  # bytes: a 48x48 face has about 1,600
_REMOVE = "Remove the file, or take the data from the competition's CSV files."


def roots(files: list[Path]) -> list[Path]:
    """The folders, in the order of `files`, that hold faces both under train/<class>/ and under test/<any name>/."""
    faces = [f for f in files if f.suffix.lower() in SUFFIXES and len(f.parts) > 3]
    train = {f.parents[2]: None for f in faces if f.parts[-3].lower() == "train" and f.parts[-2].lower() in _LABELS}
    test = {f.parents[2] for f in faces if f.parts[-3].lower() == "test"}
    return [root for root in train if root in test]


def read_folder(root: Path, files: list[Path], *, sealed: bool) -> Table:
    """Decodes those of `files` that lie in `root`/train/* and `root`/test/*; each must be a 48x48 image.

    `sealed` leaves the class folders of the test images unread. UserError, with the file, for a name without usage
    and number, a class folder that is no expression, whatever is not such an image, and for too many of them.
    """
    faces = [file for file in files if _belongs(file, root)]
    if len(faces) > _IMAGES:
        raise UserError(f"{root}: {len(faces):,} images are more than the {_IMAGES:,} allowed.\n{_REMOVE}")
    with warnings.catch_warnings():  # Pillow's, of bombs and of transparency: what matters is refused by name
        warnings.simplefilter("ignore")
        rows = [_row(file, sealed) for file in faces]
    # Two images of one number are ordered by their pixels, so that no label can decide the order of the test data.
    rows.sort()
    images = np.frombuffer(b"".join(row[2] for row in rows), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    usage, labels = np.array([row[0] for row in rows], np.uint8), np.array([row[3] for row in rows], np.int64)
    return Table(images, labels, usage)


def _belongs(file: Path, root: Path) -> bool:
    inside = file.suffix.lower() in SUFFIXES and len(file.parts) > 3 and file.parents[2] == root
    return inside and file.parts[-3].lower() in ("train", "test")


def _row(file: Path, sealed: bool) -> tuple[int, int, bytes, int]:
    """usage, number, pixels, label of one file."""
    match = _NAME.fullmatch(file.stem)
    if match is None:
        raise UserError(f"{file}: the name is not {', '.join(f'{usage}_<number>' for usage in USAGES)}.\n{_REMOVE}")
    usage = USAGES.index(match[1])
    if (usage == 0) != (file.parts[-3].lower() == "train"):
        raise UserError(f"{file}: a {match[1]} image has no place under {file.parts[-3]}/.\n{_REMOVE}")
    label = UNREAD if sealed and usage else _LABELS.get(file.parts[-2].lower())
    if label is None:
        raise UserError(f"{file.parent}: this folder is named by none of {', '.join(CLASS_NAMES)}.\n{_REMOVE}")
    return usage, int(match[2]), _pixels(file), label


def _pixels(file: Path) -> bytes:
    """48x48 bytes, row by row. The size is checked before a pixel is decoded, so a bomb costs nothing."""
    try:
        if (size := file.stat().st_size) > _FILE_LIMIT:
            raise UserError(f"{file}: {size:,} bytes are too many for a 48x48 face.\n{_REMOVE}")
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise UserError(f"{file}: {image.n_frames:,} pictures in one file, where one face is due.\n{_REMOVE}")
            if image.size != (IMAGE_SIZE, IMAGE_SIZE) or image.mode not in _MODES:
                what = f"the image is {image.width}x{image.height}, mode {image.mode}"
                raise UserError(f"{file}: {what}; 48x48 in 8-bit grey is due.\n{_REMOVE}")
            return image.convert("L").tobytes()
    except UserError:
        raise
    except Exception as bad:  # the decoders raise OSError, SyntaxError, ValueError, struct.error and more on bad bytes
        raise UserError(f"{file}: cannot be read as an image ({type(bad).__name__}).\n{_REMOVE}") from bad
