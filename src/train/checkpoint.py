"""Checkpoints: a training's state in a file, from which going on is, on the CPU, to the bit never having stopped.

A file is a line of magic, a line with the SHA-256 of the rest, and the rest: tensors and plain values as torch.save
writes them, read with `weights_only`. A torn or foreign file is known by these and passed over, back to the one before.
"""

import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from src.train.fit import Course

MAGIC = b"fer2013 checkpoint 1\n"
NAMES = NAME, BEFORE = "checkpoint.pt", "checkpoint.before.pt"


def write(path: Path, identity: dict, state: dict, course: Course) -> None:
    """Writes the file under a temporary name, synced, then renamed; what was there stays as the one before."""
    stream = io.BytesIO()
    torch.save({"identity": identity, "state": state, "course": asdict(course)}, stream)
    content = stream.getbuffer()
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n")
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(path.with_name(BEFORE))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, identity: dict) -> tuple[dict, Course]:
    """State and course from a file; ValueError, whose text says why, for a torn, a damaged and a foreign one."""
    with path.open("rb") as file:
        magic, digest = file.readline(len(MAGIC)), file.readline(80).strip().decode("ascii", "replace")
        content = file.read()
    if magic != MAGIC:
        raise ValueError("no checkpoint of this kit")
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("torn or damaged")
    found = torch.load(io.BytesIO(content), weights_only=True)
    different = [key for key, value in identity.items() if found["identity"].get(key) != value]
    if different:
        raise ValueError(f"of another training: other {', '.join(different).replace('_', ' ')}")
    return found["state"], Course(**found["course"])


@dataclass
class Keeper:
    """Keeps the checkpoints of one member in its folder; identity says whose they are.

    say: takes a line for people. A disk that is full costs the checkpoints and not the training.
    """

    folder: Path
    identity: dict
    say: Callable[[str], None]
    writer: threading.Thread | None = None
    fault: str = ""

    def load(self) -> tuple[dict, Course] | None:
        """The newest state that is whole and this training's, others passed over aloud; None where there is none."""
        for path in (self.folder / name for name in NAMES):
            try:
                return read(path, self.identity)
            except FileNotFoundError:
                continue
            except Exception as error:  # behind a digest that fits, only a file of other versions of torch or the kit
                self.say(f"{path}: passed over, {str(error).splitlines()[0] if str(error) else type(error).__name__}")
        return None

    def save(self, state: dict, course: Course, wait: bool = False) -> None:
        """Writes in the background, one at a time; `wait` for it where the process is about to end."""
        self.join()
        copy = Course(list(course.history), course.best, course.strikes, course.weights)
        self.writer = threading.Thread(target=self.write, args=(state, copy))
        self.writer.start()
        if wait:
            self.join()

    def write(self, state: dict, course: Course) -> None:
        """One checkpoint; on a full disk the one before makes room for it."""
        path = self.folder / NAME
        try:
            try:
                write(path, self.identity, state, course)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                (self.folder / BEFORE).unlink(missing_ok=True)
                write(path, self.identity, state, course)
        except OSError as error:
            self.fault = f"{path}: {error.strerror}"

    def join(self) -> None:
        """Waits until the last checkpoint is on the disk; says what went wrong with it."""
        if self.writer is not None:
            self.writer.join()
            self.writer = None
        if self.fault:
            self.say(f"warning: no checkpoint could be written, the training goes on ({self.fault})")
            self.fault = ""
