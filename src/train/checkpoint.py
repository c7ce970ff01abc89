"""Checkpoints: a training's state in a file, from which going on is, on the CPU, to the bit never having stopped.

A file is a line of magic, a line with the SHA-256 of the rest, and the rest: tensors and plain values as torch.save
writes them, read with `weights_only`. A torn or foreign file is known by these and passed over, back to the one before.
"""

import hashlib
import io
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import BinaryIO

import torch

from src.files import FULL
from src.train.fit import Course

MAGIC = b"fer2013 checkpoint 1\n"
# Of an epoch's end, of the one before it, and of a step within the epoch that follows the first.
NAMES = NAME, BEFORE, STEP = "checkpoint.pt", "checkpoint.before.pt", "checkpoint.step.pt"


def write(path: Path, identity: dict, state: dict, course: Course) -> None:
    """Writes the file under a temporary name, synced, then renamed; what was there stays as the one before."""
    behind = {f.name: getattr(course, f.name) for f in fields(course) if f.name != "good"}
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(MAGIC + b"0" * 64 + b"\n")
            digested = Digested(file)
            torch.save({"identity": identity, "state": state, "course": behind}, digested)
            digested.complain()
            file.seek(len(MAGIC))
            file.write(digested.digest.hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        if path.name == NAME and path.exists():
            path.replace(path.with_name(BEFORE))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Digested:
    """A file that is written from its start to its end, and its SHA-256: the content never lies in memory as a whole.

    An error is kept, and raised by `complain` afterwards: it does not have to find its way through torch's own writer.
    """

    def __init__(self, file: BinaryIO):
        self.file, self.digest, self.error = file, hashlib.sha256(), None

    def write(self, part: bytes | memoryview) -> int:
        """Takes all of it, or notes why that failed."""
        self.digest.update(part)
        try:
            if not self.error:
                self.file.write(part)
        except OSError as error:
            self.error = error
        return len(part)

    def flush(self) -> None:
        """Nothing: the file is flushed at its end."""

    def complain(self) -> None:
        """Raises the OSError that came up while writing."""
        if self.error:
            raise self.error


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
        """The newest state that is whole and this training's, others passed over aloud; None where there is none.

        The course's `good` is the state of the last epoch's end, also where the state is one of a later step.
        """
        ended = self.read(NAME) or self.read(BEFORE)
        if ended is None:
            return None
        state, course = ended
        step = self.read(STEP)
        if step and behind(step[1]) == behind(course):
            return step[0], replace(step[1], good=state)
        return state, replace(course, good=state)

    def read(self, name: str) -> tuple[dict, Course] | None:
        """One file's state and course; None where it is not there, or with a line where it is of no use."""
        try:
            return read(self.folder / name, self.identity)
        except FileNotFoundError:
            return None
        except Exception as error:  # behind a digest that fits, only a file of other versions of torch or the kit
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.say(f"{self.folder / name}: passed over, {reason}")
            return None

    def save(self, state: dict, course: Course, wait: bool = False) -> None:
        """Writes in the background, one at a time; `wait` for it where the process is about to end."""
        self.join()
        copy = replace(course, history=list(course.history))
        self.writer = threading.Thread(target=self.write, args=(state, copy))
        self.writer.start()
        if wait:
            self.join()

    def write(self, state: dict, course: Course) -> None:
        """One checkpoint; on a full disk the older ones make room for it."""
        path = self.folder / (STEP if state.get("half") else NAME)
        try:
            try:
                write(path, self.identity, state, course)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                for name in (BEFORE, STEP):
                    (self.folder / name).unlink(missing_ok=True)
                write(path, self.identity, state, course)
        except Exception as error:  # in a thread of its own nobody else would hear of it
            self.fault = f"{path}: {getattr(error, 'strerror', None) or error}"

    def join(self) -> None:
        """Waits until the last checkpoint is on the disk; says what went wrong with it."""
        if self.writer is not None:
            self.writer.join()
            self.writer = None
        if self.fault:
            self.say(f"warning: no checkpoint could be written, the training goes on ({self.fault})")
            self.fault = ""


def behind(course: Course) -> tuple[int, int]:
    """Which epoch's end a course has behind it: a step belongs to the epoch's end that has the same."""
    return len(course.history), course.strikes
