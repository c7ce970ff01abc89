"""On a full disk the checkpoints go first, and what must be written takes their place."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.errors import UserError
from src.files import FULL
from src.run import finish, members, prepare
from src.run.disk_space import DiskSpace, require
from src.run.run_folder import RunFolder
from src.submit.check import check_submission
from tests.support.small_runs import run_command, train

pytestmark = pytest.mark.usefixtures("narrow_networks")

CHECKPOINTS = (
    *("members/a/checkpoint.prev.pt", "members/b/checkpoint.prev.pt", "members/b/checkpoint.mid_epoch.pt"),
    "members/a/checkpoint.pt",
)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in (*CHECKPOINTS, "members/a/model.safetensors", "predictions/a.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def write_once(folder: Path, gone: int, number: int = errno.ENOSPC) -> int:
    """Writes what finds space once so many files have gone; the number of tries."""
    tries, before = [], len(files(folder))

    def action() -> None:
        tries.append(len(files(folder)))
        if before - len(files(folder)) < gone:
            raise OSError(number, "No space left on device")

    DiskSpace(RunFolder(folder).expendable).write(action)
    return len(tries)


@pytest.mark.parametrize("gone", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("number", FULL)
def test_the_older_checkpoints_go_first_then_the_newest(folder, gone, number):
    before = files(folder)
    assert write_once(folder, gone, number) == gone + 1
    assert before - files(folder) == set(CHECKPOINTS[:gone])


def test_another_error_deletes_nothing_and_a_disk_that_stays_full_what_is_not_finished(folder):
    finished = {"members/a/model.safetensors", "predictions/a.npz"}
    for number, left in ((errno.EIO, finished | set(CHECKPOINTS)), (errno.ENOSPC, finished)):
        with pytest.raises(OSError, match="No space left"):
            write_once(folder, 5, number)
        assert files(folder) == left


def test_what_can_be_made_again_costs_no_checkpoint(folder, monkeypatch):
    lines, context = [], SimpleNamespace(folder=RunFolder(folder), log=lambda line: lines.append(line))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(members, "write_history", full)
    members.record_epoch(context, "a", [], 1)
    assert "the training continues" in lines[0] and set(CHECKPOINTS) <= files(folder)


def test_only_files_of_the_run_count_as_space_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 5, 2**20))
    (tmp_path / "holiday.zip").write_bytes(bytes(2**21))
    with pytest.raises(UserError, match="1 MiB are free, and the run will write up to 2 MiB"):
        require(tmp_path, 2**21)
    (tmp_path / "members").mkdir()
    (tmp_path / "members" / "checkpoint.pt").write_bytes(bytes(2**20))
    require(tmp_path, 2**21)


def test_a_run_is_refused_before_it_trains_where_the_disk_is_too_small(faces, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 5, 2**20))
        with pytest.raises(UserError, match=r": 1 MiB are free, and the run will write up to \d+ MiB; free some space"):
            train(faces, tmp_path / "out")
        require(tmp_path, 2**20)
    assert not (tmp_path / "out").exists()


def test_a_run_whose_disk_fills_up_still_leaves_its_submission(faces, tmp_path, monkeypatch):
    """submission.csv and the weights find no space until the checkpoints have gone."""
    real_write, real_bytes, tries = finish.write_submission, Path.write_bytes, []

    def refuse(path: Path, number: int) -> None:
        if RunFolder(tmp_path / "out").expendable():
            tries.append(path.name)
            raise OSError(number, "No space left on device")

    def full_write(path, *arguments):
        if path.name == "submission.csv":
            refuse(path, errno.ENOSPC)
        real_write(path, *arguments)

    def full_bytes(path, content):
        if path.name.startswith("model.safetensors"):
            refuse(path, errno.EDQUOT)
        return real_bytes(path, content)

    monkeypatch.setattr(finish, "write_submission", full_write)
    monkeypatch.setattr(Path, "write_bytes", full_bytes)
    assert train(faces, tmp_path / "out").status == "finished"
    assert len(tries) > 2 and not RunFolder(tmp_path / "out").expendable()
    assert check_submission(tmp_path / "out" / "submission.csv", 80).rows == 80


def test_a_disk_that_stays_full_is_told_in_two_lines(faces, tmp_path, monkeypatch, capsys):
    def full(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(finish, "write_submission", full)
        patch.setattr(prepare, "rehearse", lambda *_: 0.0)
        assert run_command(faces, tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [
        f"error: the disk is full ({tmp_path}/out/submission.csv)",
        "Free some space, then give the same command again.",
    ]
    assert run_command(faces, tmp_path / "out") == 0
    assert "compact_cnn: already finished" in capsys.readouterr().out
