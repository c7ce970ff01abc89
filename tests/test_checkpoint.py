"""A checkpoint goes on to the bit; what is torn, damaged, foreign or malicious is passed over for the one before."""

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

from src.config import Augment, Member
from src.data import synthetic
from src.data.batches import LabelledImages, on_device
from src.train import checkpoint
from src.train.checkpoint import BEFORE, MAGIC, NAME, STEP, Keeper, read, write
from src.train.fit import Course
from src.train.precision import Precision
from src.train.trainer import Trainer

CPU = torch.device("cpu")
FLOAT32 = Precision("float32", "", CPU)
IDENTITY = {"config_hash": "r", "data_digest": "d", "code_digest": "s", "member": "m", "device": "cpu"}
KINDS = {
    "adam, plateau, sampler": {"schedule": "plateau", "class_balancing": "sampler"},
    "adamw, one cycle, average": {"optimizer": "adamw", "schedule": "one_cycle", "ema": 0.9, "weight_decay": 0.1},
    "sgd, cosine, weights": {
        "optimizer": "sgd",
        "schedule": "cosine",
        "warmup_fraction": 0.2,
        "class_balancing": "weights",
    },
}


@pytest.fixture(scope="module")
def rows() -> LabelledImages:
    return on_device(*synthetic.make_faces(70, seed=11), CPU)


def trainer(rows: LabelledImages, **settings) -> Trainer:
    common = {
        "network": "compact_cnn",
        "epochs": 3,
        "batch_size": 16,
        "augment": Augment(flip=0.5, rotation=10, erase=0.3),
    }
    return Trainer(Member("m", **(common | settings)), rows, rows, FLOAT32, seed=1)


def tensors(state) -> list[torch.Tensor]:
    """Every tensor of a state, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for value in inner for tensor in tensors(value)]


def equal(one: dict, other: dict) -> bool:
    pairs = zip(tensors(one), tensors(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Enough(Exception):
    """Stops a training between two steps."""


def broken_off(net: Trainer, step: int) -> dict:
    """The state in which a training was left after so many steps of its second epoch."""
    net.epoch(1)

    def between():
        if net.half.step == step:
            raise Enough

    with pytest.raises(Enough):
        net.epoch(2, between)
    return net.state()


@pytest.mark.parametrize("step", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_goes_on_from_a_file_ends_as_one_that_did_not_stop(rows, tmp_path, kind, step):
    """Step 5 is the last: the training of that epoch is done, its evaluation is not."""
    write(tmp_path / NAME, IDENTITY, broken_off(trainer(rows, **KINDS[kind]), step), Course())
    torch.rand(7)  # another process has drawn other numbers
    second, whole = trainer(rows, **KINDS[kind]), trainer(rows, **KINDS[kind])
    second.load(read(tmp_path / NAME, IDENTITY)[0])
    resumed = [second.epoch(number) for number in (2, 3)]
    torch.manual_seed(1)
    whole = trainer(rows, **KINDS[kind])
    expected = [whole.epoch(number) for number in (1, 2, 3)][1:]
    assert equal(second.state(), whole.state())
    for row, other in zip(resumed, expected, strict=True):
        assert {k: v for k, v in row.items() if "seconds" not in k} == {
            k: v for k, v in other.items() if "seconds" not in k
        }


def test_a_state_does_not_change_while_the_training_goes_on(rows):
    net = trainer(rows)
    state = net.state()
    before = copy.deepcopy(state)
    net.epoch(1)
    assert equal(state, before) and not equal(net.state(), before)


@pytest.fixture
def keeper(tmp_path) -> Keeper:
    """One that has written two checkpoints: the older holds 1, the newer 2. `said` is what it has to say."""
    said = []
    keeper = Keeper(tmp_path, IDENTITY, said.append)
    keeper.said = said
    for number in (1, 2):
        keeper.save({"number": torch.tensor(number)}, Course([{"epoch": number}], number, 0, {}), wait=True)
    return keeper


def number(found: tuple[dict, Course] | None) -> int | None:
    return found and int(found[0]["number"])


def test_the_newest_is_read_with_its_course(keeper):
    state, course = keeper.load()
    assert state["number"] == 2 and course == Course([{"epoch": 2}], 2, 0, {}, state) and not keeper.said


def within(number: int, epoch: int) -> tuple[dict, Course]:
    """A state and a course within the epoch after this one."""
    return {"number": torch.tensor(number), "half": {"step": torch.tensor(1)}}, Course([{"epoch": epoch}], epoch, 0, {})


def test_a_step_is_gone_on_from_and_the_epochs_end_is_where_a_strike_goes_back_to(keeper):
    keeper.save(*within(3, 2), wait=True)
    keeper.folder.joinpath(BEFORE).unlink()
    state, course = keeper.load()
    assert state["number"] == 3 and course.good["number"] == 2 and not keeper.said


def test_a_step_of_an_epoch_that_is_over_is_left_aside(keeper):
    keeper.save({"number": torch.tensor(3)}, Course([{"epoch": 1}, {"epoch": 2}], 2, 0, {}), wait=True)
    keeper.save(*within(4, 1), wait=True)
    assert number(keeper.load()) == 3


def test_a_damaged_step_costs_the_step(keeper):
    keeper.save(*within(3, 2), wait=True)
    (keeper.folder / STEP).write_bytes(b"")
    assert number(keeper.load()) == 2 and len(keeper.said) == 1


def test_two_are_kept_and_nothing_else(keeper):
    assert {file.name for file in keeper.folder.iterdir()} == {NAME, BEFORE}


@pytest.mark.parametrize("seed", range(20))
def test_a_torn_or_damaged_file_is_passed_over_aloud_back_to_the_one_before(keeper, seed):
    path, random = keeper.folder / NAME, np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    at = int(random.integers(0, len(content)))
    if seed % 2:
        content[at] ^= 1 << int(random.integers(8))
    else:
        del content[at:]
    path.write_bytes(content)
    assert number(keeper.load()) == 1
    assert len(keeper.said) == 1 and str(path) in keeper.said[0] and "passed over" in keeper.said[0]


def test_without_a_whole_file_the_training_begins_anew(keeper):
    for name in (NAME, BEFORE):
        (keeper.folder / name).write_bytes(b"")
    assert keeper.load() is None and len(keeper.said) == 2


@pytest.mark.parametrize("key", IDENTITY)
def test_a_foreign_checkpoint_is_not_taken_and_it_is_said_what_differs(keeper, key):
    other = Keeper(keeper.folder, IDENTITY | {key: "another"}, keeper.said.append)
    assert other.load() is None
    assert all(key.replace("_", " ") in line for line in keeper.said) and len(keeper.said) == 2


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_with_code_in_it_is_passed_over_and_the_code_not_run(keeper, tmp_path):
    content = pickle.dumps({"identity": IDENTITY, "state": Malice(tmp_path / "owned"), "course": {}})
    digest = hashlib.sha256(content).hexdigest().encode()
    (keeper.folder / NAME).write_bytes(MAGIC + digest + b"\n" + content)
    assert number(keeper.load()) == 1
    assert not (tmp_path / "owned").exists()


def full(monkeypatch, times: int) -> None:
    """The disk is full for so many writes."""
    real, left = checkpoint.os.fsync, iter([True] * times)

    def fsync(handle):
        if next(left, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)


def test_on_a_full_disk_the_older_checkpoint_makes_room(keeper, monkeypatch):
    full(monkeypatch, 1)
    keeper.save({"number": torch.tensor(3)}, Course(), wait=True)
    assert number(keeper.load()) == 3 and not keeper.said


def test_a_disk_that_stays_full_costs_the_checkpoint_and_not_the_training(keeper, monkeypatch):
    full(monkeypatch, 2)
    keeper.save({"number": torch.tensor(3)}, Course(), wait=True)
    assert number(keeper.load()) == 2
    assert len(keeper.said) == 1 and "No space left" in keeper.said[0] and "goes on" in keeper.said[0]
    assert {file.name for file in keeper.folder.iterdir()} == {NAME}


@pytest.mark.skipif(os.name != "posix", reason="no limits on the size of files")
@pytest.mark.parametrize("bound", [10, 5_000, 300_000])
def test_a_disk_that_fills_in_the_middle_of_a_checkpoint_leaves_the_one_before(keeper, bound):
    """The system itself refuses to write on: torch's writer must not fall over that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, before[1]))
    try:
        keeper.save({"number": torch.tensor(3), "more": torch.zeros(100_000)}, Course(), wait=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert number(keeper.load()) == 2
    assert len(keeper.said) == 1 and "goes on" in keeper.said[0]
    assert {file.name for file in keeper.folder.iterdir()} == {NAME, BEFORE}
