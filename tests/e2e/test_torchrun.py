"""Several ranks on the CPU share the members: the same end as one process, also when a rank is killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import build
from src.config import as_dict, config_hash
from src.errors import UserError
from src.run.ranks import STARTED
from src.run.run import finish_lost_run
from src.submit.check import check_submission
from src.train.budget import process_started
from src.train.signals import Stopped
from tests.conftest import ROOT
from tests.support.small_runs import MEMBERS, SETTINGS, request, run_command, train, weights

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def start_run(faces: Path, output: Path, *settings: str, nproc: int = 2, **environment: str) -> subprocess.Popen:
    """A run of the quick recipe, with one thread a process: some arithmetic depends on the number."""
    command = [sys.executable, "-m", "src", "run", "--recipe", "quick", "--device", "cpu", "--nproc", str(nproc)]
    command += ["--input", str(faces), "--output", str(output), "--no-report"]
    command += ["--set", *SETTINGS, "epochs=3", *settings]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(run: subprocess.Popen, code: int) -> str:
    """What a run has printed that must end with this exit code."""
    said = run.communicate(timeout=240)[0]
    assert run.returncode == code, said
    return said


def ranks(output: Path) -> dict[str, int]:
    """Number of a rank → its process, of the run in this folder."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = dict(word.split(b"=", 1) for word in (process / "environ").read_bytes().split(b"\0") if word)
            if str(output).encode() in (process / "cmdline").read_bytes().split(b"\0") and b"RANK" in environment:
                found[environment[b"RANK"].decode()] = int(process.name)
        except (OSError, ValueError):  # it has ended
            continue
    return found


def wait_for(path: Path) -> None:
    """Until a file is there."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.05)


def record(output: Path) -> dict:
    return json.loads((output / "run.json").read_text())


@pytest.fixture(scope="module")
def alone(faces, tmp_path_factory, one_thread) -> Path:
    """The same run in one process."""
    output = tmp_path_factory.mktemp("alone") / "out"
    train(faces, output, "epochs=3")
    return output


def test_a_rank_of_three_is_killed_and_the_run_ends_to_the_bit_as_that_of_one_process(faces, alone, tmp_path):
    """At any moment: before, in or after a training, also of the rank for which there is no member."""
    output, moment = tmp_path / "out", random.Random()
    run = start_run(faces, output, nproc=3)
    wait_for(output / "run.json")
    time.sleep(moment.uniform(0, 3))
    if found := ranks(output):
        os.kill(moment.choice(list(found.values())), signal.SIGKILL)
    said = end(run, 0)
    assert "2 members for 3 ranks: 1 rank without work" in said
    assert weights(output) == weights(alone)
    assert (output / "submission.csv").read_bytes() == (alone / "submission.csv").read_bytes()
    left = record(output)
    assert left["status"] == "finished" and not left["failed"]
    assert len(left["ranks"]) == 3 and list(left["members"]) == list(MEMBERS)


def test_a_member_whose_rank_died_before_its_blend_is_in_the_submission(faces, alone, tmp_path):
    """A lost run is found as its ranks left it: both results are there, and the blend is that of none or one."""
    output, earlier = tmp_path / "out", record(alone)["ensemble"]
    shutil.copytree(alone, output)
    (output / "submission.csv").unlink()
    one = json.dumps(record(output) | {"ensemble": earlier | {"members": ["compact_cnn"]}})
    (output / "run.json").write_text(one)
    finish_lost_run(request(faces, output, "epochs=3"))
    assert record(output)["ensemble"] == earlier and record(output)["status"] == "finished"
    assert (output / "submission.csv").read_bytes() == (alone / "submission.csv").read_bytes()


def test_a_lost_run_that_is_interrupted_is_recorded_as_that(faces, alone, tmp_path, monkeypatch):
    output = Path(shutil.copytree(alone, tmp_path / "out"))
    (output / "run.json").write_text(json.dumps(record(output) | {"status": "running"}))

    def stopped(context):
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("src.run.run.submit_finished", stopped)
    with pytest.raises(Stopped):
        finish_lost_run(request(faces, output, "epochs=3"))
    assert record(output)["status"] == "interrupted"


def test_the_seconds_before_a_restart_count_once(faces, alone, tmp_path, monkeypatch):
    """run.json has those up to the restart; the launcher, whose start the budget counts from, still runs."""
    output, before = Path(shutil.copytree(alone, tmp_path / "out")), 10_000
    (output / "run.json").write_text(json.dumps(record(output) | {"seconds": before}))
    monkeypatch.setenv(STARTED, str(process_started() - before))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert run_command(faces, output, "--set", "epochs=3") == 0
    assert before < record(output)["seconds"] < 2 * before


def test_another_run_in_the_folder_is_left_as_it_is(faces, alone, tmp_path):
    """Ranks that die before the first one has claimed the folder leave what was there."""
    output = Path(shutil.copytree(alone, tmp_path / "out"))
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=r"other settings \(epochs: 4 here, 3 there\) is there, and stays as it is"):
        finish_lost_run(request(faces, output, "epochs=4"))
    assert before == {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}


def test_a_lost_run_of_a_precision_that_this_device_lacks_is_finished(faces, alone, tmp_path):
    output = Path(shutil.copytree(alone, tmp_path / "out"))
    asked = request(faces, output, "epochs=3", "precision=fp16")
    identity = {"config_hash": config_hash(asked.recipe), "recipe": as_dict(asked.recipe)}
    (output / "run.json").write_text(json.dumps(record(output) | identity))
    finish_lost_run(asked)
    assert record(output)["status"] == "finished"


def test_a_rank_that_dies_at_each_start_is_restarted_three_times_and_the_finished_members_are_submitted(
    faces, alone, tmp_path
):
    """Rank 1 is killed before its first line of the script."""
    output, starts = tmp_path / "out", tmp_path / "starts"
    shutil.copytree(alone, output)
    (output / "members/simple_cnn_v2/result.json").unlink()
    code = build.describe_code(ROOT, build.collect_sources(ROOT))
    (output / "run.json").write_text(json.dumps(record(output) | {"code": code}))
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nif os.environ.get('RANK') == '1':\n"
        f"    print('started', file=open({str(starts)!r}, 'a'))\n    os.kill(os.getpid(), 9)\n"
    )
    said = end(start_run(faces, output, PYTHONPATH=str(tmp_path)), 1)
    assert len(starts.read_text().splitlines()) == 1 + 3 and not ranks(output)
    assert "blending the finished members" in said
    assert list(record(output)["members"]) == ["compact_cnn"] and list(record(output)["failed"]) == ["simple_cnn_v2"]
    assert check_submission(output / "submission.csv", 80).rows == 80


def test_a_signal_ends_all_ranks_in_order(faces, tmp_path):
    output = tmp_path / "out"
    run = start_run(faces, output, "epochs=9999")
    for member in MEMBERS:
        wait_for(output / f"members/{member}/checkpoint.pt")
    run.send_signal(signal.SIGINT)  # torchrun and its ranks get SIGTERM
    said = end(run, 130)
    assert "interrupted" in said and "Traceback" not in said
    assert record(output)["status"] == "interrupted" and not ranks(output)
    assert all(list((output / "members" / member).glob("checkpoint*")) for member in MEMBERS)


def test_a_users_error_is_said_once_and_is_not_tried_again(tmp_path):
    (tmp_path / "in").mkdir()
    said = end(start_run(tmp_path / "in", tmp_path / "out"), 2)
    assert said.count("error: ") == 1 and "train.csv" in said and "Traceback" not in said
