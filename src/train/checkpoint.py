"""Checkpoints: a training's state in a file. On a CPU a resumed training is bitwise the one that was never interrupted.

A file holds a magic line, a line with the SHA-256 of the rest, and the rest: tensors and plain values in torch's
format, read with `weights_only`. A damaged or foreign file is skipped for the one before it.
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
from src.train.fit import TrainState

MAGIC = b"fer2013 checkpoint 1\n"
# The end of an epoch, the end of the epoch before it, and a step within the epoch that follows the first.
FILE_NAMES = LATEST, PREVIOUS, MID_EPOCH = "checkpoint.pt", "checkpoint.prev.pt", "checkpoint.mid_epoch.pt"


def write_checkpoint(path: Path, identity: dict, snapshot: dict, state: TrainState) -> None:
    """Writes the file under a temporary name, syncs it and renames it; the old file becomes the previous one."""
    finished = {f.name: getattr(state, f.name) for f in fields(state) if f.name != "last_good"}
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(MAGIC + b"0" * 64 + b"\n")
            hashing = HashingWriter(file)
            torch.save({"identity": identity, "snapshot": snapshot, "state": finished}, hashing)
            if hashing.error:
                raise hashing.error
            file.seek(len(MAGIC))
            file.write(hashing.digest.hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        if path.name == LATEST and path.exists():
            path.replace(path.with_name(PREVIOUS))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class HashingWriter:
    """Writes to a file and computes its SHA-256, so that the content is never in memory as a whole.

    It keeps an OSError in `error`: torch's own writer would not pass it on.
    """

    def __init__(self, file: BinaryIO):
        self.file, self.digest, self.error = file, hashlib.sha256(), None

    def write(self, part: bytes | memoryview) -> int:
        """Writes and hashes a part."""
        self.digest.update(part)
        try:
            if not self.error:
                self.file.write(part)
        except OSError as error:
            self.error = error
        return len(part)

    def flush(self) -> None:
        """Does nothing: the file is flushed at its end."""


def read_checkpoint(path: Path, identity: dict) -> tuple[dict, TrainState]:
    """The trainer's snapshot and the state in a file; ValueError with the reason if it is damaged or foreign."""
    with path.open("rb") as file:
        magic, digest = file.readline(len(MAGIC)), file.readline(80).strip().decode("ascii", "replace")
        content = file.read()
    if magic != MAGIC:
        raise ValueError("no checkpoint of this kit")
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("torn or damaged")
    try:
        found = torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # torch's own words advise to load without protection
        raise ValueError("written by another version of torch or of the kit") from None
    different = [key for key, value in identity.items() if found["identity"].get(key) != value]
    if different:
        raise ValueError(f"of another training: other {', '.join(different).replace('_', ' ')}")
    return found["snapshot"], TrainState(**found["state"])


@dataclass
class CheckpointManager:
    """Writes and reads the checkpoints of one member in its folder. identity: tells one training from another.

    log: receives lines for people. A full disk costs checkpoints, not the training.
    """

    folder: Path
    identity: dict
    log: Callable[[str], None]
    writer: threading.Thread | None = None
    fault: str = ""

    def load(self) -> tuple[dict, TrainState] | None:
        """The newest valid snapshot with its state; None if there is none. Logs each file that it skips.

        The state's `last_good` is the snapshot at the end of the last epoch, also if a later step is loaded.
        """
        at_epoch_end = self.read(LATEST) or self.read(PREVIOUS)
        if at_epoch_end is None:
            return None
        snapshot, state = at_epoch_end
        mid_epoch = self.read(MID_EPOCH)
        if mid_epoch and (mid_epoch[1].epochs, mid_epoch[1].rollbacks) == (state.epochs, state.rollbacks):
            return mid_epoch[0], replace(mid_epoch[1], last_good=snapshot)
        return snapshot, replace(state, last_good=snapshot)

    def read(self, name: str) -> tuple[dict, TrainState] | None:
        """One file's content; None if it is missing, or, with a line in the log, unusable."""
        try:
            return read_checkpoint(self.folder / name, self.identity)
        except FileNotFoundError:
            return None
        except Exception as error:  # with a valid digest: written by another version of torch or of the kit
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.log(f"{self.folder / name}: not used, {reason}")
            return None

    def save(self, snapshot: dict, state: TrainState, wait: bool = False) -> None:
        """Writes a checkpoint in a thread, one at a time. wait: until it is written, before the process ends."""
        self.join()
        copy = replace(state, history=list(state.history))
        self.writer = threading.Thread(target=self.write, args=(snapshot, copy))
        self.writer.start()
        if wait:
            self.join()

    def write(self, snapshot: dict, state: TrainState) -> None:
        """Writes one checkpoint; deletes older ones if the disk is full."""
        path = self.folder / (MID_EPOCH if snapshot.get("epoch_state") else LATEST)
        try:
            try:
                write_checkpoint(path, self.identity, snapshot, state)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                for name in (PREVIOUS, MID_EPOCH):
                    (self.folder / name).unlink(missing_ok=True)
                write_checkpoint(path, self.identity, snapshot, state)
        except Exception as error:  # an exception in a thread would be lost
            self.fault = f"{path}: {getattr(error, 'strerror', None) or error}"

    def join(self) -> None:
        """Waits until the last checkpoint is written; logs its error."""
        if self.writer:
            self.writer.join()
        if self.fault:
            self.log(f"warning: no checkpoint could be written, the training continues ({self.fault})")
            self.fault = ""
