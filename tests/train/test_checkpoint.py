"""A checkpoint resumes bitwise; what is torn, damaged, foreign or malicious is skipped for the one before it."""

import copy
import errno
import hashlib
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from src.config import Augment
from src.train import checkpoint
from src.train.checkpoint import (
    LATEST,
    MAGIC,
    MID_EPOCH,
    PREVIOUS,
    CheckpointManager,
    read_checkpoint,
    write_checkpoint,
)
from src.train.fit import TrainState
from src.train.trainer import Trainer
from tests.support.training import equal, make_job, without_seconds

pytestmark = pytest.mark.usefixtures("narrow_networks")

IDENTITY = {"config_hash": "r", "data_digest": "d", "code_digest": "s", "member": "m", "device": "cpu"}
KINDS = {
    "adam, plateau, sampler": {"schedule": "plateau", "class_balancing": "sampler"},
    "adamw, one cycle, ema": {"optimizer": "adamw", "schedule": "one_cycle", "ema": 0.9, "weight_decay": 0.1},
    "sgd, cosine, weights": {
        "optimizer": "sgd",
        "schedule": "cosine",
        "warmup_fraction": 0.2,
        "class_balancing": "weights",
    },
    "every training method": {
        "network": "tiny",
        "mixup": 0.4,
        "cutmix": 1.0,
        "mix_off_fraction": 0.3,
        "sam_fraction": 0.7,
        "preprocessing": "equalize",
        "label_smoothing": 0.1,
        "weight_decay": 0.1,
        "weight_decay_on": "weights",
        "ema": 0.9,
        "optimizer": "sgd",
    },
}


class Interrupted(Exception):
    """Stops a training between two steps."""


def interrupt(trainer: Trainer, step: int) -> dict:
    """The snapshot after so many steps of the second epoch."""
    trainer.epoch(1)

    def on_batch_end():
        if trainer.epoch_state.step == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        trainer.epoch(2, on_batch_end)
    return trainer.state_dict()


@pytest.mark.parametrize("step", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_is_resumed_from_a_file_ends_bitwise_as_one_that_did_not_stop(rows, tmp_path, kind, step):
    """Step 5 is the last one: that epoch is trained and not evaluated."""
    augmented = {"network": "compact_cnn", "augment": Augment(flip=0.5, rotation=10, erase=0.3, resized_crop=0.6)}
    job = make_job(rows, **augmented | KINDS[kind])
    write_checkpoint(tmp_path / LATEST, IDENTITY, interrupt(Trainer(job), step), TrainState())
    torch.rand(7)  # another process has drawn other numbers
    resumed = Trainer(job)
    resumed.load_state_dict(read_checkpoint(tmp_path / LATEST, IDENTITY)[0])
    history = [resumed.epoch(number) for number in (2, 3)]
    whole = Trainer(job)
    expected = [whole.epoch(number) for number in (1, 2, 3)]
    assert without_seconds(history) == without_seconds(expected[1:]) and equal(resumed.state_dict(), whole.state_dict())


def test_a_snapshot_does_not_change_while_the_training_continues(rows):
    trainer = Trainer(make_job(rows))
    snapshot = trainer.state_dict()
    before = copy.deepcopy(snapshot)
    trainer.epoch(1)
    assert equal(snapshot, before) and not equal(trainer.state_dict(), before)


# --- files ----------------------------------------------------------------------------------------------------------


def numbered(number: int, epochs: int, **more) -> tuple[dict, TrainState]:
    """A snapshot that holds a number, with the state after so many epochs."""
    history = [{"epoch": epoch} for epoch in range(1, epochs + 1)]
    return {"number": torch.tensor(number)} | more, TrainState(history, epochs)


def within_epoch(number: int, epochs: int) -> tuple[dict, TrainState]:
    """A snapshot within the epoch after these."""
    return numbered(number, epochs, epoch_state={"step": torch.tensor(1)})


@pytest.fixture
def manager(tmp_path) -> CheckpointManager:
    """One that wrote two checkpoints: number 1 after one epoch, number 2 after two. `lines` is what it logs."""
    lines = []
    manager = CheckpointManager(tmp_path, IDENTITY, lines.append)
    manager.lines = lines
    for number in (1, 2):
        manager.save(*numbered(number, number), wait=True)
    return manager


def loaded(manager: CheckpointManager) -> int | None:
    """The number in the snapshot that is loaded."""
    found = manager.load()
    return found and int(found[0]["number"])


def files(manager: CheckpointManager) -> set[str]:
    return {file.name for file in manager.folder.iterdir()}


def test_the_newest_is_read_with_its_state_and_two_are_kept(manager):
    snapshot, state = manager.load()
    assert snapshot["number"] == 2 and state == TrainState([{"epoch": 1}, {"epoch": 2}], 2, last_good=snapshot)
    assert files(manager) == {LATEST, PREVIOUS} and not manager.lines


def test_a_later_step_is_loaded_and_a_rollback_goes_to_the_end_of_the_epoch(manager):
    manager.save(*within_epoch(3, 2), wait=True)
    (manager.folder / PREVIOUS).unlink()
    snapshot, state = manager.load()
    assert snapshot["number"] == 3 and state.last_good["number"] == 2 and not manager.lines


def test_a_step_of_an_epoch_that_is_over_is_ignored(manager):
    manager.save(*numbered(3, 3), wait=True)
    manager.save(*within_epoch(4, 1), wait=True)
    assert loaded(manager) == 3


def test_a_damaged_step_costs_the_step(manager):
    manager.save(*within_epoch(3, 2), wait=True)
    (manager.folder / MID_EPOCH).write_bytes(b"")
    assert loaded(manager) == 2 and len(manager.lines) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_torn_or_damaged_file_is_skipped_with_a_line_for_the_one_before(manager, seed):
    path, random = manager.folder / LATEST, np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    at = int(random.integers(0, len(content)))
    if seed % 2:
        content[at] ^= 1 << int(random.integers(8))
    else:
        del content[at:]
    path.write_bytes(content)
    assert loaded(manager) == 1
    assert len(manager.lines) == 1 and str(path) in manager.lines[0] and "not used" in manager.lines[0]


def test_without_a_valid_file_there_is_no_checkpoint(manager):
    for name in (LATEST, PREVIOUS):
        (manager.folder / name).write_bytes(b"")
    assert manager.load() is None and len(manager.lines) == 2


@pytest.mark.parametrize("key", IDENTITY)
def test_a_foreign_checkpoint_is_not_loaded_and_the_line_says_what_differs(manager, key):
    other = CheckpointManager(manager.folder, IDENTITY | {key: "another"}, manager.lines.append)
    assert other.load() is None
    assert all(key.replace("_", " ") in line for line in manager.lines) and len(manager.lines) == 2


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_with_code_in_it_is_skipped_and_the_code_does_not_run(manager, tmp_path):
    content = pickle.dumps({"identity": IDENTITY, "snapshot": Malice(tmp_path / "owned"), "state": {}}, protocol=2)
    digest = hashlib.sha256(content).hexdigest().encode()
    (manager.folder / LATEST).write_bytes(MAGIC + digest + b"\n" + content)
    assert loaded(manager) == 1 and not (tmp_path / "owned").exists()
    assert not any(word in manager.lines[0] for word in ("weights_only", "allowlist", "trust"))  # torch's advice


# --- a full disk ----------------------------------------------------------------------------------------------------


def fill_disk(monkeypatch, writes: int) -> None:
    """The disk is full for so many writes."""
    sync, left = checkpoint.os.fsync, [True] * writes

    def fsync(handle):
        if left and left.pop():
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)


def test_on_a_full_disk_the_older_checkpoint_makes_room(manager, monkeypatch):
    fill_disk(monkeypatch, 1)
    manager.save(*numbered(3, 3), wait=True)
    assert loaded(manager) == 3 and not manager.lines


def test_a_disk_that_stays_full_costs_the_checkpoint_and_not_the_training(manager, monkeypatch):
    fill_disk(monkeypatch, 2)
    manager.save(*numbered(3, 3), wait=True)
    assert loaded(manager) == 2 and files(manager) == {LATEST}
    assert len(manager.lines) == 1 and "No space left" in manager.lines[0] and "continues" in manager.lines[0]


@pytest.mark.skipif(os.name != "posix", reason="no limits on the size of files")
@pytest.mark.parametrize("bound", [10, 5_000, 300_000])
def test_a_disk_that_fills_within_a_checkpoint_leaves_the_one_before(manager, bound):
    """The system itself refuses to write: torch's writer must survive that."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, limits[1]))
    try:
        manager.save(*numbered(3, 3, more=torch.zeros(100_000)), wait=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert loaded(manager) == 2 and files(manager) == {LATEST, PREVIOUS}
    assert len(manager.lines) == 1 and "continues" in manager.lines[0]
