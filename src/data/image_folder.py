"""The image-folder form of the data: `train/<class>/Training_<n>.jpg`, `test/<class>/PublicTest_<n>.jpg` and so on.

Rows are sorted by usage, then by n, so images named by their row number give the same arrays as the CSV files.

Limits: 200,000 images, each of at most 1 MB and 48x48 pixels; together 1 GB of memory.
"""

import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from src.bounded_io import list_files
from src.data.csv_decoder import UNREAD, USAGES, Table
from src.dataset import CLASS_NAMES, IMAGE_SIZE
from src.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

_NAME = re.compile(rf"({'|'.join(USAGES)})_(\d{{1,18}})", re.ASCII)
_LABELS = {name.lower(): label for label, name in enumerate(CLASS_NAMES)}
_MODES = frozenset({"L", "RGB", "P"})
_MAX_IMAGES = 200_000  # FER2013 has 35,887
_MAX_FILE_BYTES = 1_000_000  # a 48x48 face has about 1,600
_ADVICE = "Remove the file, or use the competition's CSV files."


def find_image_root(files: list[Path]) -> Path | None:
    """The first folder with images both in train/<class>/ and in test/<any name>/."""
    images = [f for f in files if f.suffix.lower() in SUFFIXES and len(f.parts) > 3]
    train = {f.parents[2]: None for f in images if f.parts[-3].lower() == "train" and f.parts[-2].lower() in _LABELS}
    test = {f.parents[2] for f in images if f.parts[-3].lower() == "test"}
    return next((root for root in train if root in test), None)


def read_image_folder(root: Path, hide_test_labels: bool) -> Table:
    """Decodes the images in `root`/train/* and `root`/test/*; each must have 48x48 pixels.

    hide_test_labels: the class folders of the test images are never read. Raises UserError, with the file, for a name
    without usage and number, a class folder that is no class, anything but such an image, and for too many images.
    """
    found = [file for file in list_files(root) if _belongs(file, root)]
    if len(found) > _MAX_IMAGES:
        raise UserError(f"{root}: {len(found):,} images; at most {_MAX_IMAGES:,} are allowed.\n{_ADVICE}")
    with warnings.catch_warnings():  # Pillow warns of large images and of transparency; both are refused below
        warnings.simplefilter("ignore")
        rows = [_read_row(file, hide_test_labels) for file in found]
    # Images with the same number are sorted by their pixels, so that the order of test rows cannot depend on a label.
    rows.sort()
    images = np.frombuffer(b"".join(row[2] for row in rows), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    usage, labels = np.array([row[0] for row in rows], np.uint8), np.array([row[3] for row in rows], np.int64)
    return Table(images, labels, usage)


def _belongs(file: Path, root: Path) -> bool:
    inside = file.suffix.lower() in SUFFIXES and len(file.parts) > 3 and file.parents[2] == root
    return inside and file.parts[-3].lower() in ("train", "test")


def _read_row(file: Path, hide_test_labels: bool) -> tuple[int, int, bytes, int]:
    """Usage, number, pixels and label of one file."""
    match = _NAME.fullmatch(file.stem)
    if match is None:
        raise UserError(f"{file}: the name is not {', '.join(f'{usage}_<number>' for usage in USAGES)}.\n{_ADVICE}")
    usage = USAGES.index(match[1])
    if (usage == 0) != (file.parts[-3].lower() == "train"):
        raise UserError(f"{file}: a {match[1]} image must not be in {file.parts[-3]}/.\n{_ADVICE}")
    label = UNREAD if hide_test_labels and usage else _LABELS.get(file.parts[-2].lower())
    if label is None:
        raise UserError(f"{file.parent}: the folder's name is none of {', '.join(CLASS_NAMES)}.\n{_ADVICE}")
    return usage, int(match[2]), _read_pixels(file), label


def _read_pixels(file: Path) -> bytes:
    """48x48 bytes, row by row. The size is checked before a pixel is decoded."""
    try:
        if (size := file.stat().st_size) > _MAX_FILE_BYTES:
            raise UserError(f"{file}: {size:,} bytes; an image has at most {_MAX_FILE_BYTES:,}.\n{_ADVICE}")
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise UserError(f"{file}: {image.n_frames:,} images in one file; expected 1.\n{_ADVICE}")
            if image.size != (IMAGE_SIZE, IMAGE_SIZE) or image.mode not in _MODES:
                what = f"{image.width}x{image.height} pixels, mode {image.mode}"
                raise UserError(f"{file}: {what}; expected {IMAGE_SIZE}x{IMAGE_SIZE} in 8-bit gray.\n{_ADVICE}")
            return image.convert("L").tobytes()
    except UserError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise UserError(f"{file}: cannot be read as an image ({type(error).__name__}).\n{_ADVICE}") from error
