"""The competition's files in each of their forms, made of a few random faces."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from src.data.csv_decoder import USAGES
from src.dataset import CLASS_NAMES, IMAGE_SIZE, NUM_CLASSES

COUNTS = (40, 8, 6)  # Training, PublicTest, PrivateTest
ROWS = sum(COUNTS)
ICML_HEADER = "emotion, Usage, pixels"
FULL_HEADER = "emotion,pixels,Usage"

RowArrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # images uint8 (n, 48, 48), labels, usage


def random_rows() -> RowArrays:
    """54 rows. The pixels of the first have three digits, those of the next two have one."""
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (ROWS, IMAGE_SIZE, IMAGE_SIZE)).astype(np.uint8)
    images[0], images[1], images[2] = 255, 0, 7
    return images, random.integers(0, NUM_CLASSES, ROWS), np.repeat([0, 1, 2], COUNTS)


def pixel_text(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def csv_text(header: str, rows: RowArrays, order=None, labels=None, quote: str = "", end: str = "\n") -> str:
    """A file with the header's columns. `labels`, texts, replace the labels."""
    images, known, usage = rows
    lines = [header]
    for i in range(len(images)) if order is None else order:
        fields = {"emotion": str(known[i] if labels is None else labels[i]), "usage": USAGES[usage[i]]}
        fields["pixels"] = quote + pixel_text(images[i]) + quote
        lines.append(",".join(fields[name.strip().lower()] for name in header.split(",")))
    return end.join(lines) + end


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_pair(folder: Path, rows: RowArrays, **style) -> None:
    put(folder / "train.csv", csv_text("emotion,pixels", rows, range(COUNTS[0]), **style))
    put(folder / "test.csv", csv_text("pixels", rows, range(COUNTS[0], ROWS), **style))


def put_icml(folder: Path, rows: RowArrays, **style) -> None:
    put(folder / "icml_face_data.csv", csv_text(ICML_HEADER, rows, **style))


def put_full(folder: Path, rows: RowArrays) -> None:
    put(folder / "fer2013.csv", csv_text(FULL_HEADER, rows))


def put_tar(folder: Path, rows: RowArrays) -> None:
    put(folder / "fer2013.tar", tar_bytes("fer2013/fer2013.csv", csv_text(FULL_HEADER, rows).encode()))


def put_tar_gz(folder: Path, rows: RowArrays) -> None:
    put_tar(folder, rows)
    put(folder / "fer2013.tar.gz", gzip.compress((folder / "fer2013.tar").read_bytes(), 1))
    (folder / "fer2013.tar").unlink()


def put_images(folder: Path, rows: RowArrays) -> None:
    """PNG files named by row number; half of the class folders are in lower case, a third of the images in RGB."""
    for i, (image, label, usage) in enumerate(zip(*rows, strict=True)):
        name = CLASS_NAMES[label].lower() if i % 2 else CLASS_NAMES[label]
        place = folder / ("train" if usage == 0 else "test") / name
        place.mkdir(parents=True, exist_ok=True)
        face = Image.fromarray(image)
        (face.convert("RGB") if i % 3 == 0 else face).save(place / f"{USAGES[usage]}_{i}.png")


def tar_bytes(name: str, content: bytes, **fields) -> bytes:
    """A tar of a README and this member, whose TarInfo gets `fields`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        readme = tarfile.TarInfo("fer2013/README")
        readme.size = 700
        tar.addfile(readme, io.BytesIO(b"x" * 700))
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for key, value in fields.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return buffer.getvalue()
