"""Images in a file: the batches, probabilities and runs of images on the device, to the bit; no thread is left."""

import errno
import os
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from src.config import Augment
from src.data import mapped
from src.data.batches import on_device, train_batches
from src.data.mapped import AHEAD, Mapped, in_file
from src.errors import UserError
from src.train.precision import Precision
from src.train.predict import probabilities

CPU = torch.device("cpu")
DEVICES = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]
MOVED = Augment(rotation=15, flip=0.5, shift=0.1, brightness=0.2, erase=0.3)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (200, 48, 48)).astype(np.uint8)


@pytest.fixture
def file(images, tmp_path) -> np.memmap:
    return in_file([images], tmp_path)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mapped images")]


# ---------------------------------------------------------------------------------------------- the file


def test_the_file_holds_the_arrays_one_after_the_other_and_has_no_name(images, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "BLOCK", 64)
    found = in_file([images, images[:70:3]], tmp_path)
    assert isinstance(found, np.memmap) and found.dtype == np.uint8
    assert np.array_equal(found, np.concatenate([images, images[:70:3]]))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_in_one_line(images, tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mapped.tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(UserError, match="cannot be written there") as refused:
        in_file([images], tmp_path)
    assert str(tmp_path) in str(refused.value) and "No space left" in str(refused.value)


# ------------------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("doubled", [False, True])
def test_batches_are_those_of_images_on_the_device_to_the_bit(images, file, device, first, doubled):
    numbers = np.random.default_rng(1).permutation(200)[:170]
    labels = np.arange(200) % 7
    order = torch.arange(170).flip(0) if not doubled else torch.arange(170) // 3 * 2
    found = []
    for pixels in (images, file):
        rows = on_device(pixels, labels, device, numbers)
        generator = torch.Generator(device).manual_seed(5)
        batches = [*train_batches(rows, order.to(device), 16, MOVED, generator, first)]
        found.append((batches, generator.get_state()))
    (resident, state), (streamed, same) = found
    assert isinstance(rows.images, Mapped) and len(resident) == len(streamed) == 11 - first
    for ours, theirs in zip(streamed, resident, strict=True):
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)
    assert torch.equal(state, same) and not threads()


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("views", ["none", "flip"])
def test_probabilities_are_those_of_images_on_the_device_to_the_bit(images, file, device, views):
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(1, 3, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 11**2, 7)).to(device)
    precision, numbers = Precision("float32", "", device), np.arange(199, 40, -2)
    resident, streamed = (on_device(pixels, None, device, numbers).images for pixels in (images, file))
    assert isinstance(streamed, Mapped)
    probs = [probabilities(net, found, views, precision, batch=9) for found in (resident, streamed)]
    assert torch.equal(*probs) and probs[0].shape == (80, 7)


def test_a_row_is_the_row_of_its_number_whatever_is_chosen_of_it(images, file):
    rows = on_device(file, None, CPU).images
    some = rows[torch.tensor([7, 3, 199, 3])][1:]
    (found,) = some.parts([slice(0, 3)])
    assert len(some) == 3 and found.shape == (3, 1, 48, 48) and found.dtype == torch.uint8
    assert np.array_equal(found.squeeze(1).numpy(), images[[3, 199, 3]])


# --------------------------------------------------------------------------------------------- the thread


def test_a_few_batches_are_read_ahead_and_no_more(file, monkeypatch):
    read, count = mapped.read, []
    monkeypatch.setattr(mapped, "read", lambda *given: (count.append(1), read(*given)))
    parts = on_device(file, None, CPU).images.parts([slice(n, n + 2) for n in range(0, 200, 2)])
    next(parts)
    until = time.monotonic() + 5
    while len(count) < AHEAD + 1 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(count) == AHEAD + 1
    parts.close()


@pytest.mark.parametrize("reason", [None, KeyboardInterrupt, ValueError])
def test_a_loop_that_is_left_early_leaves_no_thread(file, reason):
    rows = on_device(file, np.arange(200) % 7, CPU)
    generator = torch.Generator()
    batches = train_batches(rows, torch.arange(200), 2, Augment(), generator)
    try:
        for _ in batches:
            assert threads()
            if reason:
                raise reason
            break
    except (KeyboardInterrupt, ValueError):
        pass
    batches.close()
    assert not threads()


def test_an_error_in_the_thread_reaches_the_caller_and_ends_it(file, monkeypatch):
    read, calls = mapped.read, []

    def failing(*given):
        calls.append(1)
        if len(calls) > 3:
            raise OSError("the disk is gone")
        read(*given)

    monkeypatch.setattr(mapped, "read", failing)
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for part in on_device(file, None, CPU).images.parts([slice(n, n + 10) for n in range(0, 200, 10)]):
            seen.append(part)
    assert len(seen) == 3 and not threads()
