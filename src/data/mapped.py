"""Images beyond the device's memory: they lie in a memory-mapped file, and come to the device batch by batch.

`Mapped` stands where a tensor of images on the device would. While the device computes, a thread reads the next
batches; for a GPU it puts them into pinned memory and copies them on a stream of their own.
"""

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.errors import UserError

AHEAD = 4  # batches that are read, or under way, while one is being computed on
BLOCK = 4096  # images that are written at a time


def in_file(images: Iterable[np.ndarray], folder: Path) -> np.memmap:
    """The arrays' images, one array after the other, memory-mapped from a file in `folder`: uint8 (n, 48, 48).

    images: uint8 (…, 48, 48) each. The file has no name and is gone with its last reference, also where the process is
    killed. Pages that were read belong to the file: the system drops them where memory is short. Raises UserError where
    the disk has no room for it.
    """
    rows = 0
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            for part in images:
                rows, side = rows + len(part), part.shape[1:]
                for start in range(0, len(part), BLOCK):
                    file.write(np.ascontiguousarray(part[start : start + BLOCK]))
            file.flush()
        except OSError as bad:
            raise UserError(f"{folder}: the images cannot be written there ({os.strerror(bad.errno)})") from None
        # Copy on write: it is never written, but torch warns of arrays that cannot be.
        return np.memmap(file, np.uint8, "c", shape=(rows, *side))


class Mapped:
    """Some rows of a file's images, for a device: as if it were uint8 (n, 1, 48, 48) there, but for `parts`.

    pixels: uint8 (all, 48, 48), memory-mapped. numbers: int64 (n,), the rows in their order; it alone is in memory.
    """

    def __init__(self, pixels: np.ndarray, numbers: np.ndarray, device: torch.device):
        self.pixels, self.numbers, self.device = pixels, numbers, device

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, chosen: slice | Tensor) -> "Mapped":
        """Some of its rows, still in the file. A tensor on a GPU is waited for."""
        index = chosen if isinstance(chosen, slice) else chosen.cpu().numpy()
        return Mapped(self.pixels, self.numbers[index], self.device)

    def parts(self, spans: Sequence[slice]) -> Iterator[Tensor]:
        """The rows of each span on the device, uint8 (b, 1, 48, 48), read ahead in a thread.

        What the thread raises is raised here. It ends with the iterator: at its end, or when it is closed.
        """
        lane = PinnedLane(self.device) if self.device.type == "cuda" else Lane()
        under_way, pool = deque(), ThreadPoolExecutor(1, "mapped images")
        try:
            for span in spans:
                under_way.append(pool.submit(lane.send, self.pixels, self.numbers[span]))
                if len(under_way) > AHEAD:
                    yield lane.receive(under_way.popleft().result())
            while under_way:
                yield lane.receive(under_way.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)


def read(pixels: np.ndarray, numbers: np.ndarray, to: np.ndarray) -> None:
    """Copies the rows of these numbers: read from front to back, as a disk likes it, and put in order."""
    order = numbers.argsort(kind="stable")
    to[order] = pixels[numbers[order]]


class Lane:
    """The way of a batch to a device that computes in main memory: each is a tensor of its own."""

    def send(self, pixels: np.ndarray, numbers: np.ndarray) -> Tensor:
        """In the thread: the batch, uint8 (b, 1, 48, 48)."""
        found = np.empty((len(numbers), *pixels.shape[1:]), np.uint8)
        read(pixels, numbers, found)
        return torch.from_numpy(found).unsqueeze(1)

    def receive(self, sent: Tensor) -> Tensor:
        """In the caller: the batch, ready to compute on."""
        return sent


class PinnedLane:
    """The way of a batch to a GPU: through pinned memory, on a stream of its own.

    torch keeps pinned memory and gives it out again once the copies from it are done: it stays at a few buffers.
    """

    def __init__(self, device: torch.device):
        self.device, self.stream = device, torch.cuda.Stream(device)

    def send(self, pixels: np.ndarray, numbers: np.ndarray) -> tuple[Tensor, torch.cuda.Event]:
        """In the thread: the batch, whose copy may still be under way, and the event at the copy's end."""
        with torch.cuda.stream(self.stream):  # of this thread; it chooses the device, too
            buffer = torch.empty((len(numbers), 1, *pixels.shape[1:]), dtype=torch.uint8, pin_memory=True)
            read(pixels, numbers, buffer.squeeze(1).numpy())
            found, copied = buffer.to(self.device, non_blocking=True), torch.cuda.Event()
            copied.record(self.stream)
        return found, copied

    def receive(self, sent: tuple[Tensor, torch.cuda.Event]) -> Tensor:
        """In the caller: the batch, on which its stream computes only after the copy.

        Its memory is the copying stream's: it must not be given out again there before the caller's stream is done.
        """
        found, copied = sent
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(copied)
        found.record_stream(stream)
        return found
