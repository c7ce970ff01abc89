"""Faces on a page: single ones in the cells of tables, and grids of them, which are also written as one PNG."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Of the PNG of a grid: a face's height, a line's height and the gap between faces in pixels; faces in a row.
_SIDE, _LINE, _GAP, _COLUMNS = 96, 14, 12, 8


@dataclass(frozen=True)
class Face:
    """An image with the lines below it.

    image: uint8 (h, w) in gray or (h, w, 3) in colour. mark: "right" or "wrong" gives it a frame, solid or dashed.
    """

    image: np.ndarray
    lines: Sequence[str] = ()
    mark: str = ""

    @property
    def source(self) -> str:
        """The image as the address that HTML takes, `data:image/png;base64,…`."""
        return f"data:image/png;base64,{base64.b64encode(png(Image.fromarray(self.image))).decode()}"

    @property
    def text(self) -> str:
        """What is said in place of the image."""
        return ", ".join(self.lines) or "face"


@dataclass(frozen=True)
class FaceGrid:
    """Faces side by side, in as many rows as the screen needs. name: of figures/<name>.png; title: above the faces."""

    name: str
    faces: Sequence[Face]
    caption: str = ""
    title: str = ""

    def png(self) -> bytes:
        """All faces with their lines on white, eight in a row."""
        pictures = [Image.fromarray(face.image).convert("RGB") for face in self.faces]
        pictures = [picture.resize((_SIDE * picture.width // picture.height, _SIDE)) for picture in pictures]
        wide = _GAP + max((picture.width for picture in pictures), default=0)
        high = _GAP + _SIDE + _LINE * max((len(face.lines) for face in self.faces), default=0)
        columns, rows = min(_COLUMNS, len(pictures)), -(-len(pictures) // _COLUMNS)
        sheet = Image.new("RGB", (_GAP + wide * columns, _GAP + high * rows), "white")
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
        for number, (face, picture) in enumerate(zip(self.faces, pictures, strict=True)):
            left, top = _GAP + number % _COLUMNS * wide, _GAP + number // _COLUMNS * high
            sheet.paste(picture, (left, top))
            for line, text in enumerate(face.lines):
                shown = printable(text)[: picture.width // 6]
                pen.text((left, top + _SIDE + 2 + line * _LINE), shown, fill="black", font=font)
        return png(sheet)


def png(image: Image.Image) -> bytes:
    """The image as the content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def printable(text: str) -> str:
    """The text with escapes in place of what no font draws: surrogates of file names, control characters."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
