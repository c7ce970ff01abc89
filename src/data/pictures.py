"""Reads pictures of a user as faces: gray or colour, of any size, as files or folders.

A picture is turned as its EXIF data says, put on mean gray where it is transparent, made gray, cut to the square in its
centre and resized to 48x48 pixels with Lanczos' filter. Nobody looks for a face in it: one centred face is expected.

Limits: 2,000 pictures, each of at most 50 MB and 50 million pixels.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from src.bounded_io import list_files, read_bytes
from src.dataset import IMAGE_SIZE, PIXEL_MEAN
from src.errors import UserError

MAX_PICTURES, MAX_BYTES, MAX_PIXELS = 2000, 50_000_000, 50_000_000
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")


def read_pictures(places: list[Path]) -> tuple[dict[Path, np.ndarray], dict[Path, str]]:
    """File → face, uint8 (48, 48), of each picture; and file → reason of each file that is none.

    places: files, and folders that are searched at any depth. Raises UserError where there is no picture or too many.
    """
    files = [file for place in places for file in (list_files(place) if place.is_dir() else [place])]
    faces, left_out = {}, {}
    for file in dict.fromkeys(files):
        try:
            faces[file] = read_picture(file)
        except UserError as error:
            left_out[file] = str(error).splitlines()[0].removeprefix(f"{file}: ")
        if len(faces) > MAX_PICTURES:
            raise UserError(f"{file.parent}: more than {MAX_PICTURES:,} pictures.\nName fewer of them at a time.")
    if not faces:
        found = [f"{file}: {reason}" for file, reason in left_out.items()] or [f"{places[0]}: no files there"]
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        what = f"{found[0].removesuffix('.')}{more}"
        raise UserError(f"none of these is a picture: {what}.\nName pictures ({', '.join(FORMATS)}).")
    return faces, left_out


def read_picture(file: Path) -> np.ndarray:
    """The face in a file, uint8 (48, 48); UserError with the reason where the file is no picture."""
    content = read_bytes(file, MAX_BYTES, "Name a picture.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's of large images; above MAX_PIXELS they are refused
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(f"{file}: {image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are read")
                square = central_square(to_gray(ImageOps.exif_transpose(image)))
        return np.asarray(square.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS))
    except UserError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        what = "no picture" if isinstance(error, UnidentifiedImageError) else f"cannot be read ({type(error).__name__})"
        raise UserError(f"{file}: {what}") from error


def central_square(image: Image.Image) -> Image.Image:
    """The largest square in the middle of the picture."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def to_gray(image: Image.Image) -> Image.Image:
    """The picture in 8-bit gray, mode L. ValueError for pixels of another kind, such as floating point."""
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.mode.startswith("I"):  # 16 bits, which Pillow itself would cut off at 255
        pixels = np.asarray(image).clip(0, 65535)
        return Image.fromarray((pixels >> 8 if pixels.max() > 255 else pixels).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (round(255 * PIXEL_MEAN),) * 3)
        image = Image.alpha_composite(ground, image)
    return image.convert("L")
