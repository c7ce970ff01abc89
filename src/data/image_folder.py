"""The image-folder form of the data: `train/<class>/Training_<n>.jpg`, `test/<class>/PublicTest_<n>.jpg` and so on.

Rows are sorted by usage, then by n, so images named by their row number give the same arrays as the CSV files.

Limits: 200,000 images, each of at most 1 MB and 48x48 pixels; together 1 GB of memory.
"""

import io
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from src.bounded_io import list_files, read_bytes
from src.data.csv_decoder import UNREAD, USAGES, Table
from src.dataset import CLASS_NAMES, IMAGE_SIZE
from src.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

_NAME = re.compile(rf"({'|'.join(USAGES)})_(\d{{1,18}})", re.ASCII)
_LABELS = {name.lower(): label for label, name in enumerate(CLASS_NAMES)}
_MODES = frozenset({"L", "RGB", "P"})
_MAX_IMAGES = 200_000  # FER2013 has 35,887
_MAX_FILE_BYTES = 1_000_000  # a 48x48 face has about 1,600
_WITH_ALPHA = frozenset({"RGBA", "LA"})
_ADVICE = "Remove the file, or use the competition's CSV files."
_ORDER = (
    "A submission needs the competition's row order: use train.csv with test.csv, icml_face_data.csv, fer2013.csv, "
    "or images named by usage and row number."
)


def find_image_roots(files: list[Path]) -> list[Path]:
    """The folders with images both in train/<class>/ and in test/<any name>/."""
    images = [f for f in files if _half(f)]
    test = {f.parents[2] for f in images if _half(f) == "test"}
    train = dict.fromkeys(f.parents[2] for f in images if _half(f) == "train" and f.parts[-2].lower() in _LABELS)
    return [root for root in train if root in test]


def read_image_folder(root: Path, hide_test_labels: bool) -> Table:
    """Decodes the images in `root`/train/* and `root`/test/*; each must have 48x48 pixels, none of them transparent.

    hide_test_labels: the class folders of the test images are never read. Raises UserError, with the file, for a name
    without usage and number, a class folder that is no class, anything but such an image, and for too many images.
    """
    found = [file for file in list_files(root) if _half(file) and file.parents[2] == root]
    if len(found) > _MAX_IMAGES:
        raise UserError(f"{root}: {len(found):,} images; at most {_MAX_IMAGES:,} are allowed.\n{_ADVICE}")
    with warnings.catch_warnings():  # Pillow warns of large images and of transparency; both are refused below
        warnings.simplefilter("ignore")
        rows = [_read_row(file, hide_test_labels) for file in found]
    # Images with the same number are sorted by their pixels, so that the order of test rows cannot depend on a label.
    usage, _, pixels, labels = zip(*sorted(rows), strict=True)
    images = np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return Table(images, np.array(labels, np.int64), np.array(usage, np.uint8))


def _half(file: Path) -> str | None:
    """train or test, if the file is an image in such a folder."""
    half = file.parts[-3].lower() if len(file.parts) >= 3 else ""
    return half if half in ("train", "test") and file.suffix.lower() in SUFFIXES else None


def _read_row(file: Path, hide_test_labels: bool) -> tuple[int, int, bytes, int]:
    """Usage, number, pixels and label of one file."""
    match = _NAME.fullmatch(file.stem)
    if match is None:
        expected = ", ".join(f"{usage}_<number>" for usage in USAGES)
        raise UserError(f"{file}: the name is not {expected}: the row order of these images is lost.\n{_ORDER}")
    usage = USAGES.index(match[1])
    if (usage == 0) != (_half(file) == "train"):
        raise UserError(f"{file}: a {match[1]} image must not be in {file.parts[-3]}/.\n{_ADVICE}")
    label = UNREAD if hide_test_labels and usage else _LABELS.get(file.parts[-2].lower())
    if label is None:
        raise UserError(f"{file.parent}: the folder's name is none of {', '.join(CLASS_NAMES)}.\n{_ADVICE}")
    return usage, int(match[2]), _read_pixels(file), label


def _is_opaque(image: Image.Image) -> bool:
    return image.getchannel("A").getextrema() == (255, 255)


def _read_pixels(file: Path) -> bytes:
    """48x48 bytes, row by row. The size is checked before a pixel is decoded."""
    content = read_bytes(file, _MAX_FILE_BYTES, _ADVICE)
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            frames, found = getattr(image, "n_frames", 1), f"{image.width}x{image.height} pixels, mode {image.mode}"
            fits = frames == 1 and image.size == (IMAGE_SIZE, IMAGE_SIZE)
            is_gray_or_colour = image.mode in _MODES and not image.has_transparency_data
            if fits and (is_gray_or_colour or (image.mode in _WITH_ALPHA and _is_opaque(image))):
                return image.convert("L").tobytes()
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise UserError(f"{file}: cannot be read as an image ({type(error).__name__}).\n{_ADVICE}") from error
    found = found if frames == 1 else f"{frames:,} images in one file"
    expected = f"1 of {IMAGE_SIZE}x{IMAGE_SIZE} opaque pixels in 8-bit gray"
    raise UserError(f"{file}: {found}; expected {expected}.\n{_ADVICE}")
