"""On a full disk the checkpoints go first, and what must be written takes their place."""

import errno
import shutil
from pathlib import Path

import pytest

from src import closing, config, disk, recipes
from src.disk import Room, require
from src.errors import UserError
from src.run import run
from src.submit.check import check_submission
from tests.conftest import fake_bundle

CHECKPOINTS = (
    *("members/a/checkpoint.before.pt", "members/b/checkpoint.before.pt", "members/b/checkpoint.step.pt"),
    "members/a/checkpoint.pt",
)


@pytest.fixture
def room(tmp_path) -> Room:
    for name in (*CHECKPOINTS, "members/a/model.safetensors", "predictions/a.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return Room(tmp_path)


def files(room: Room) -> set[str]:
    return {file.relative_to(room.folder).as_posix() for file in room.folder.rglob("*") if file.is_file()}


def needs(room: Room, gone: int, number: int = errno.ENOSPC) -> list[int]:
    """Something that can be written once so many files have gone; each try leaves a mark."""
    tries, before = [], len(files(room))

    def action() -> None:
        tries.append(len(files(room)))
        if before - len(files(room)) < gone:
            raise OSError(number, "No space left on device")

    room.write(action)
    return tries


def test_with_space_nothing_is_given_up(room):
    before = files(room)
    assert len(needs(room, 0)) == 1 and files(room) == before


@pytest.mark.parametrize("gone", [1, 2, 3, 4])
@pytest.mark.parametrize("number", disk.FULL)
def test_the_older_checkpoints_go_first_then_the_newest(room, gone, number):
    before = files(room)
    assert len(needs(room, gone, number)) == gone + 1
    assert before - files(room) == set(CHECKPOINTS[:gone])


def test_when_all_is_given_up_the_error_comes_and_what_is_finished_stays(room):
    with pytest.raises(OSError, match="No space left"):
        needs(room, 5)
    assert files(room) == {"members/a/model.safetensors", "predictions/a.npz"}


def test_another_error_gives_nothing_up(room):
    before = files(room)

    def broken() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        room.write(broken)
    assert files(room) == before


def test_too_little_space_is_refused_with_both_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 5, 100 * 2**20))
    require(tmp_path, 100 * 2**20)
    with pytest.raises(UserError, match=r"100 MiB are free.*up to 101 MiB"):
        require(tmp_path, 101 * 2**20)


def small(faces: Path, output: Path) -> dict:
    recipe = config.override(recipes.get("quick"), ["epochs=1", "max_train_rows=150"])
    return run(recipe, fake_bundle(), faces, output, device="cpu")


def test_a_run_is_refused_before_it_trains_where_the_disk_is_too_small(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 5, 2**20))
    with pytest.raises(UserError, match="make room"):
        small(faces, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_a_run_whose_disk_fills_up_still_leaves_its_submission(faces, tmp_path, monkeypatch):
    """submission.csv finds no space until the checkpoints have gone."""
    real, tries = closing.write_submission, []

    def full(path, *arguments):
        if path.name == "submission.csv" and list(path.parent.glob("members/*/checkpoint*")):
            tries.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, *arguments)

    monkeypatch.setattr(closing, "write_submission", full)
    record = small(faces, tmp_path / "out")
    assert tries and record["status"] == "finished"
    assert check_submission(tmp_path / "out" / "submission.csv", 80).rows == 80


def test_a_run_that_was_refused_for_space_begins_when_there_is_some(faces, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 5, 2**20))
        with pytest.raises(UserError, match="make room"):
            small(faces, tmp_path / "out")
    assert small(faces, tmp_path / "out")["status"] == "finished"


def test_weights_that_find_no_space_take_that_of_the_checkpoints(faces, tmp_path, monkeypatch):
    """The weights' own writer would raise an error of its own kind."""
    real, refused = Path.write_bytes, []

    def full(path, content):
        if path.name.startswith("model.safetensors") and list(path.parent.glob("checkpoint.pt")):
            refused.append(path)
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert small(faces, tmp_path / "out")["status"] == "finished" and refused


def test_a_finished_run_keeps_no_checkpoints(faces, tmp_path):
    small(faces, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("checkpoint*"))
