"""Ranks under the real torchrun: they share a run, and what becomes of one is not what becomes of all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src import launcher, ranks, supervisor
from src.errors import UserError
from src.main import main
from src.ranks import Place
from src.submit import check
from tests.conftest import ROOT, fake_bundle
from tests.store import boards

LONG = "simple_cnn_v2.epochs=12"
# After its first epoch a member has a checkpoint, and the one of its beginning before that.
EPOCH = ["members/simple_cnn_v2/checkpoint.pt", "members/simple_cnn_v2/checkpoint.before.pt"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


# --- what the ranks tell each other ---------------------------------------------------------------------------------


def test_a_place_is_what_torchrun_says_and_one_process_has_none():
    said = dict.fromkeys(ranks.NEEDED, "x") | {"RANK": "3", "WORLD_SIZE": "4", "GROUP_RANK": "1"}
    said |= {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert ranks.place(said) == Place(3, 4, 1, 2, 1)
    assert ranks.place(said | {"WORLD_SIZE": "1"}) is None
    assert ranks.place({"RANK": "0", "WORLD_SIZE": "2"}) is None and ranks.place({}) is None


def test_each_number_goes_to_one_rank_and_what_is_told_is_heard():
    one, other = boards(2)
    assert [one.next("members"), other.next("members"), one.next("members")] == [0, 1, 2]
    one.tell("cost", [1.5, 2])
    assert other.hear("cost", 0) == [1.5, 2] and other.told("nothing") is None


def test_who_waits_for_a_rank_that_ends_without_a_word_hears_nothing_and_goes_on():
    one, other = boards(2)
    one.arrive({"why": "rank 0 died (signal 9)"})
    assert other.hear("begun", 0) is None
    assert other.deaths() == {0: "rank 0 died (signal 9)"}


def test_who_waits_can_be_stopped():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        boards(2)[1].hear("begun", 0, stop)


def test_the_last_to_arrive_is_one():
    crew = boards(3)
    assert [board.arrive({}) for board in crew] == [False, False, True]
    assert crew[0].told("last") == 2


# --- what became of a rank ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "number", "how"),
    [
        (-9, 0, {"why": "rank 1 died (signal 9)"}),
        (1, 0, {"why": "rank 1 ended with exit code 1"}),
        (143, 0, {"why": "rank 1 ended with exit code 143"}),  # somebody has stopped this one alone
        (143, 15, {"stopped": 15}),
        (2, 0, {"code": 2}),
        (ranks.FOLLOWED, 0, {"code": ranks.FOLLOWED}),
    ],
)
def test_the_ending_of_a_trainer_is_told_by_its_code(code, number, how):
    assert supervisor.ending(1, code, number) == how


@pytest.mark.parametrize(
    ("ends", "begun", "own", "code"),
    [
        ([{}, {}], True, 0, 0),
        ([{}, {}], True, 1, 1),  # the last trainer has ended the run, with a member missing
        ([{"why": "died"}, {}], True, 0, 1),
        ([{"why": "died"}, {}], True, 2, 1),  # nothing to submit, since a rank died: no fault of the user's
        ([{"why": "died"}, {"code": 75}], True, 75, 1),
        ([{}, {"code": 2}], True, 2, 0),  # one machine lacks the input; the others have done the work
        ([{"code": 2}, {"code": 2}], False, 2, 2),
        ([{"why": "died"}, {"code": 2}], False, 2, 1),
        ([{"stopped": 15}, {"stopped": 15}], True, 143, 143),
        ([{"stopped": 2}, {}], True, 0, 130),
    ],
)
def test_the_runs_exit_code_follows_from_how_its_ranks_ended(ends, begun, own, code):
    crew = boards(2)
    if begun:
        crew[0].tell("begun", 0.1)
    for board, how in zip(crew, ends, strict=True):
        board.arrive(how)
    assert supervisor.end_of_run(crew[1], own, lambda: 0) == code


@pytest.mark.parametrize(("error", "code"), [(UserError("nothing"), 2), (KeyboardInterrupt(), 130), (OSError(), 1)])
def test_an_end_that_fails_still_has_a_code_for_the_others(error, code, capsys):
    def end():
        raise error

    assert supervisor.caught(end) == code


def test_gpus_are_counted_without_torch(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert launcher.gpus({}, tmp_path) == 2
    assert launcher.gpus({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == 1
    assert launcher.gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0


@pytest.mark.parametrize(
    ("kernel", "more", "workers"),
    [
        (True, [], 2),
        (True, ["--workers", "1"], 0),
        (True, ["--device", "cuda:1"], 0),
        (True, ["--device", "cpu"], 0),
        (False, [], 0),
        (False, ["--workers", "3"], 3),
    ],
)
def test_a_kernel_with_two_gpus_starts_two_ranks_and_a_run_elsewhere_what_was_asked(
    monkeypatch, tmp_path, kernel, more, workers
):
    """0: the run itself, in this process."""
    started = []
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch" if kernel else "")
    monkeypatch.setattr(launcher, "gpus", lambda: 2)
    monkeypatch.setattr(launcher, "launch", lambda n, arguments, begun: started.append((n, arguments)) or 7)
    monkeypatch.setattr("src.main.train", lambda *_: started.append((0, [])) or 7)
    arguments = ["run", "--output", str(tmp_path), *more]
    assert main(arguments, fake_bundle()) == 7
    assert started == [(workers, arguments if workers else [])]


def test_the_parent_does_without_torch():
    code = "import sys, src.main, src.supervisor, src.launcher; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_no_workers_at_all_is_the_users_error(faces, tmp_path, capsys):
    place = ["--input", str(faces), "--output", str(tmp_path), "--workers", "0"]
    assert main(["run", *place], fake_bundle()) == 2
    assert "one or more" in capsys.readouterr().err


# --- under torchrun -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    built = tmp_path_factory.mktemp("kaggle") / "script.py"
    subprocess.run([sys.executable, "build.py", "--output", str(built)], cwd=ROOT, check=True, capture_output=True)
    return built


def command(script: Path, faces: Path, output: Path, *more: str, recipe: str = "quick") -> list[str]:
    run = ["run", "--recipe", recipe, "--input", str(faces), "--output", str(output), "--device", "cpu"]
    return [str(script), *run, *more]


def environment(tmp_path: Path) -> dict:
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "KAGGLE_KERNEL_RUN_TYPE")}
    return kept | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}


def begun(arguments: list[str], tmp_path: Path, signs: list[str]) -> subprocess.Popen:
    """A run that has left all the signs in its folder."""
    options = {"cwd": tmp_path, "env": environment(tmp_path), "text": True, "stderr": subprocess.STDOUT}
    run = subprocess.Popen(arguments, stdout=subprocess.PIPE, **options)
    deadline = time.monotonic() + 300
    while not all((tmp_path / "out" / sign).exists() for sign in signs) and time.monotonic() < deadline:
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.2)
    return run


def ended(arguments: list[str], tmp_path: Path) -> subprocess.CompletedProcess:
    options = {"cwd": tmp_path, "env": environment(tmp_path), "text": True, "capture_output": True}
    return subprocess.run(arguments, timeout=400, **options)


def trainers(output: Path) -> dict[int, int]:
    """Rank → process id of the trainers of the run in this folder."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            names = (process / "environ").read_bytes().split(b"\0") if process.name.isdigit() else []
            if (
                f"{supervisor.TRAINER}=1".encode() in names
                and str(output).encode() in (process / "cmdline").read_bytes()
            ):
                found[int(next(name[5:] for name in names if name.startswith(b"RANK=")))] = int(process.name)
        except OSError:
            continue
    return found


def record(output: Path) -> dict:
    return json.loads((output / "run.json").read_text())


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
def test_a_rank_that_is_killed_costs_its_member_and_the_same_command_trains_it(script, faces, tmp_path):
    """Each rank has taken one member; the one that is still training is killed."""
    output = tmp_path / "out"
    run = command(script, faces, output, "--workers", "2", "--set", "epochs=1", LONG)
    with begun([sys.executable, *run], tmp_path, [*EPOCH, "submission.csv"]) as process:
        log = (output / "log.txt").read_text()
        rank = int(next(line for line in log.splitlines() if "simple_cnn_v2: simple_cnn_v2" in line)[1])
        os.kill(trainers(output)[rank], signal.SIGKILL)
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 1, said
    why = f"rank {rank} died (signal 9) while it trained simple_cnn_v2"
    assert f"simple_cnn_v2 is missing: {why}" in said and "ChildFailedError" not in said and "Traceback" not in said
    left = record(output)
    assert left["missing"] == {"simple_cnn_v2": why} and left["status"] == "finished"
    assert list(left["members"]) == ["compact_cnn"] and not trainers(output)
    assert f"[{1 - rank}] compact_cnn: validation accuracy" in said and f"[{rank}]   epoch   1/12" in said
    assert check.check(output / "submission.csv", 80).rows == 80
    assert not (output / ".reserve").exists() and not (output / ".lock").exists()
    again = ended([sys.executable, *run[:-5], "--set", "epochs=1", LONG], tmp_path)
    assert "compact_cnn: finished before" in again.stdout and "simple_cnn_v2: goes on after epoch" in again.stdout
    assert again.returncode == 0 and list(record(output)["members"]) == ["compact_cnn", "simple_cnn_v2"]


def test_a_signal_stops_ranks_that_train_one_member_together_and_they_go_on(script, faces, tmp_path):
    """Fewer members than ranks."""
    output = tmp_path / "out"
    run = [sys.executable, *command(script, faces, output, "--workers", "2", recipe="simple_cnn_v2")]
    settings = ["--set", "epochs=12", "early_stopping_patience=0"]
    with begun([*run, *settings], tmp_path, EPOCH) as process:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=200)[0]
    assert process.returncode == 143, said
    assert "Traceback" not in said and "SignalException" not in said
    assert "batch 64, of which each rank takes 32 at most" in said
    assert record(output)["status"] == "interrupted" and not (output / ".lock").exists()
    again = ended([*run, *settings], tmp_path)
    assert again.returncode == 0, again.stderr
    assert "[0] simple_cnn_v2: goes on after epoch" in again.stdout
    assert record(output)["members"]["simple_cnn_v2"]["epochs"] == 12 and record(output)["status"] == "finished"
    assert check.check(output / "submission.csv", 80).rows == 80


def test_a_users_error_is_said_once_and_no_rank_waits_for_ever(script, tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = command(script, tmp_path / "empty", tmp_path / "out")
    failed = ended([*TORCHRUN, *arguments], tmp_path)
    assert failed.returncode == 1  # torchrun's own; it names its processes' codes
    assert failed.stderr.count("error: ") == 1 and "train.csv" in failed.stderr
    assert "exitcode  : 2" in failed.stderr and "fer2013" not in failed.stdout


def test_under_torchrun_a_signal_ends_the_ranks_in_order(script, faces, tmp_path):
    """Sent to torchrun, which passes it on."""
    output = tmp_path / "out"
    arguments = command(script, faces, output, "--set", "epochs=500")
    with begun([*TORCHRUN, *arguments], tmp_path, [*EPOCH, "members/compact_cnn/checkpoint.pt"]) as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=200)
    log = (output / "log.txt").read_text()
    assert all(f"[{rank}] interrupted: stopped by SIGTERM" in log for rank in range(2))
    assert record(output)["status"] == "interrupted" and not trainers(output)
