"""Watching: the states, the end, and why a kernel failed, in this repository's files and lines."""

import json
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

import build
from remote import kernel_log, watch
from tests.conftest import ROOT
from tests.support.project import KERNEL, built_project, new_round

FAULT = """
import torch.nn.functional as F

def broken(*arguments, **options):
    raise RuntimeError("a fault from within training")

F.cross_entropy = broken
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return built_project(tmp_path_factory.mktemp("base") / "project")


@pytest.fixture
def remote(base, tmp_path, faces, monkeypatch, capfd):
    round_trip = new_round(base, tmp_path, faces, monkeypatch, capfd)
    monkeypatch.setattr(watch, "FIRST", 1.0)
    monkeypatch.setattr(watch, "LISTEN", 0.5)
    with round_trip.kaggle:
        yield round_trip


def leaves(remote, status: str, *events: tuple[str, str], files: dict | None = None) -> None:
    """Lets the kernels leave these log lines and files, and end with `status`, without running."""
    folder = remote.root.parent / "left"
    folder.mkdir(exist_ok=True)
    for name, content in (files or {}).items():
        (folder / name).write_text(content)
    logged = [{"stream_name": stream, "time": 1.0, "data": data} for stream, data in events]
    remote.kaggle.prepared = SimpleNamespace(working=folder, events=logged)
    remote.kaggle.prepared_status = status


def test_a_kernel_that_fails_is_explained_by_its_traceback_with_our_files_and_lines(remote):
    remote.kaggle.sabotage = FAULT
    remote("push")
    said = remote("watch", code=1)
    frame = re.search(r'File "(src/train/trainer\.py)", line (\d+), in gradient\n +(.+)', said)
    assert frame, said
    assert (ROOT / frame[1]).read_text().splitlines()[int(frame[2]) - 1].strip() == frame[3].strip()
    assert "QUEUED" in said and "the sources are unchanged since" in said
    error = said.split("\nerror: ")[1]
    assert (
        f"version 1: it failed: RuntimeError: a fault from within training (src/train/trainer.py, line {frame[2]})"
        in error
    )

    (remote.root / frame[1]).write_text("# one line more\n" + (remote.root / frame[1]).read_text())
    said = remote("watch", code=1)
    assert "the sources have changed since" in said and "src/train/trainer.py changed" in said


def test_a_kernel_that_never_finishes_is_given_up(remote):
    remote.kaggle.never_finish = True
    remote("push")
    error = remote.error("watch", "--wait", "0.001", code=1)
    assert "still RUNNING after 0:00:" in error and f"https://www.kaggle.com/code/{KERNEL}" in error


def test_a_kernel_that_ends_without_a_traceback_is_explained_by_its_last_words(remote):
    leaves(remote, "ERROR", ("stdout", "fer2013-kit starts\n"), ("stderr", "error: no train.csv below /kaggle/input\n"))
    remote("push")
    assert "it failed: error: no train.csv below /kaggle/input" in remote.error("watch", code=1)


def test_a_cancelled_kernel_is_not_a_success(remote):
    leaves(remote, "CANCEL_ACKNOWLEDGED")
    remote("push")
    assert "cancelled" in remote.error("watch", code=1)


def test_a_server_that_stumbles_while_watching_is_asked_again(remote):
    leaves(remote, "COMPLETE")
    remote("push")
    remote.kaggle.fail("GetKernelSessionStatus", 500, "stumbled")
    assert "COMPLETE" in remote("watch")


def test_a_kernel_that_is_not_there_is_said(remote):
    error = remote.error("watch", "--owner", "nobody", code=2)
    assert "status nobody/fer2013-expressions: denied (403)" in error


def test_ctrl_c_ends_with_130_and_the_kernel_goes_on(remote):
    remote.kaggle.never_finish = True
    remote("push")
    command = [sys.executable, "-m", "remote", "watch"]
    options = {"cwd": remote.root, "env": os.environ, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **options) as watching:
        assert "version 1: QUEUED" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert "goes on running" in watching.communicate(timeout=60)[1]
    assert watching.returncode == 130


def test_the_last_line_is_shown_while_it_runs(remote):
    words = "print('epoch 2'); print('epoch 3 of 24', flush=True)"
    remote.kaggle.sabotage = f"import os, time; {words}; time.sleep(8); os._exit(0)"  # instead of a training
    remote("push")
    said = remote("watch")
    assert re.search(r"RUNNING \d:\d\d:\d\d  epoch 3 of 24\n", said) and "COMPLETE" in said


# The log by itself


def events(*data: str, stream: str = "stderr") -> str:
    return json.dumps([{"stream_name": stream, "time": 0.1, "data": text} for text in data])


def test_lines_that_come_in_pieces_are_put_together():
    text = json.dumps(
        [
            {"stream_name": "stdout", "time": 0, "data": "epoch "},
            {"stream_name": "stderr", "time": 0, "data": "warning\nTrace"},
            {"stream_name": "stdout", "time": 0, "data": "1\r\nend"},
        ]
    )
    assert kernel_log.read(text) == [
        ("stderr", "warning"),
        ("stdout", "epoch 1"),
        ("stderr", "Trace"),
        ("stdout", "end"),
    ]


def test_only_the_last_traceback_counts_and_what_follows_it_does_not():
    frame = '  File "/tmp/fer2013-0-abc/src/a.py", line 3, in f\n    g()\n'
    first = f"{kernel_log.START}\n{frame}ValueError: first\n"
    found = kernel_log.failure(events(first, first.replace("first", "last"), "a warning\n"), ROOT)
    assert found.summary == "ValueError: last (src/a.py, line 3)"
    assert found.lines[1] == '  File "src/a.py", line 3, in f' and "a warning" not in found.lines


def test_the_sources_are_compared_by_the_digest_in_the_log():
    said = f"{kernel_log.START}\nValueError: x\n"
    digest = build.digest_of(build.collect(ROOT))
    for ran, words in ((digest, "unchanged"), ("0" * 16, "have changed")):
        text = json.loads(events(f"fer2013-kit {ran}, commit abc1234\n", stream="stdout")) + json.loads(events(said))
        assert words in kernel_log.failure(json.dumps(text), ROOT).lines[-1]


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "plain words\n", '[{"data": null}]'])
def test_a_log_in_no_known_form_is_no_defect(text):
    assert kernel_log.failure(text, ROOT).summary
