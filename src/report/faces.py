"""Faces on a page: single ones in the cells of tables, and grids of them, which are also written as one PNG."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_TILE, _CAPTION, _COLUMNS = 112, 14, 8  # of the PNG, in pixels: a face's cell, a line of its caption, cells in a row


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
    """Faces side by side, in as many rows as the screen needs. name: of figures/<name>.png."""

    name: str
    faces: Sequence[Face]
    caption: str = ""

    def png(self) -> bytes:
        """All faces with their lines on white, eight in a row."""
        lines = max((len(face.lines) for face in self.faces), default=0)
        high, rows = _TILE + _CAPTION * lines, -(-len(self.faces) // _COLUMNS)
        sheet = Image.new("RGB", (_TILE * min(_COLUMNS, max(1, len(self.faces))), max(1, high * rows)), "white")
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
        for number, face in enumerate(self.faces):
            left, top = number % _COLUMNS * _TILE, number // _COLUMNS * high
            side = _TILE - 16
            sheet.paste(Image.fromarray(face.image).convert("RGB").resize((side, side)), (left + 8, top + 8))
            for line, text in enumerate(face.lines):
                pen.text((left + 8, top + _TILE - 6 + line * _CAPTION), printable(text)[:18], fill="black", font=font)
        return png(sheet)


def png(image: Image.Image) -> bytes:
    """The image as the content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def printable(text: str) -> str:
    """The text with escapes in place of what no font draws: surrogates of file names, control characters."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
