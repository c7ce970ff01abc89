"""Watching: the states, the end, and why a kernel failed, in this repository's files and lines."""

import os
import re
import signal
import subprocess
import sys

import pytest

import build
import repository
from remote import kernel_log, watch
from tests.support.project import KERNEL

FRAME = '  File "/tmp/fer2013-0-abc/src/work.py", line 2, in answer\n    return 42\n'
FAILURE = f"{kernel_log.TRACEBACK}\n{FRAME}RuntimeError: out of memory\n"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(watch, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(watch, "LISTEN_SECONDS", 30.0)  # the server ends the log at once


def first_line(root) -> str:
    code = build.describe_code(root, build.collect_sources(root))
    return f"fer2013-kit {code['digest']}, commit {code['commit']}, 2026-11-26\n"


def test_a_failure_is_explained_by_its_traceback_with_our_files_and_lines(remote, leaves):
    leaves("QUEUED", "ERROR", events=[("stdout", first_line(remote.root)), ("stderr", FAILURE)])
    remote("push")
    printed = remote("watch", code=1)
    assert '  File "src/work.py", line 2, in answer\n    return 42\n' in printed and "QUEUED" in printed
    commit = repository.git(remote.root, "rev-parse", "--short", "HEAD")
    assert re.search(rf"the sources are unchanged since: digest [0-9a-f]{{16}}, commit {commit}$", printed, re.M)
    assert "version 1: it failed: RuntimeError: out of memory (src/work.py, line 2)\n" in printed
    (remote.root / "src/work.py").write_text("# one line more\n")
    assert "src/work.py changed" in remote("watch", code=1)


def test_a_kernel_that_never_finishes_is_given_up(remote):
    remote("push")
    error = remote.error("watch", "--wait", "0.00001", code=1)
    assert "after 0:00:" in error and f"https://www.kaggle.com/code/{KERNEL}" in error


CONVERSION = [
    ("stderr", "/usr/lib/mistune.py:435: SyntaxWarning: invalid escape sequence '\\|'\n  cells[i][c] = ...\n"),
    ("stderr", "[NbConvertApp] Converting notebook __script__.ipynb to html\n"),
]


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ([], 'ended without a word after "it starts": probably killed (memory or time)'),
        ([("stderr", "error: no train.csv\n"), ("stderr", "Attach it.\n")], "error: no train.csv Attach it."),
        (
            [("stderr", f"[rank1]: {line}\n") for line in FAILURE.splitlines()],
            "rank 1: RuntimeError: out of memory (src/w",
        ),
    ],
)
def test_kaggles_own_last_lines_are_not_the_reason(remote, leaves, stderr, reason):
    leaves("ERROR", events=[("stdout", "it starts\n"), *stderr, *CONVERSION])
    remote("push")
    for command in ("watch", "fetch"):
        printed = remote(command, code=1)
        assert f"it failed: {reason}" in printed and "NbConvertApp" not in printed and "SyntaxWarning" not in printed


def test_a_success_has_no_reason(remote, leaves):
    leaves("COMPLETE", events=[("stdout", "it starts\n"), *CONVERSION])
    remote("push")
    assert re.fullmatch(r"[^\n]+: COMPLETE \d:\d\d:\d\d\n", remote("watch"))


def test_a_cancelled_kernel_is_not_a_success(remote, leaves):
    leaves("CANCEL_ACKNOWLEDGED")
    remote("push")
    for command in ("watch", "fetch"):
        assert "it was cancelled" in remote.error(command, code=1)


def test_a_server_that_fails_while_watching_is_asked_again_and_the_last_line_is_shown(remote, leaves):
    leaves(
        "QUEUED",
        "RUNNING",
        "RUNNING",
        "COMPLETE",
        events=[("stdout", "epoch 2\n"), ("stdout", "10 %\repoch 3 of 24\n")],
    )
    remote("push")
    remote.kaggle.fail("GetKernelSessionStatus", 500, "failed")
    printed = remote("watch")
    assert re.search(r"RUNNING \d:\d\d:\d\d  epoch 3 of 24\n", printed) and "COMPLETE" in printed
    assert "failed" in printed


def test_a_kernel_that_is_not_there_is_said(remote):
    error = remote.error("watch", "--owner", "nobody", code=2)
    assert "status nobody/fer2013-expressions: denied (403)" in error


def test_ctrl_c_ends_with_130_and_the_kernel_keeps_running(remote):
    remote("push")
    code = "import pathlib, sys; from remote.main import main; sys.exit(main(['watch'], pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(remote.root)]
    options = {"cwd": build.ROOT, "env": os.environ, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **options) as watching:
        assert "version 1: QUEUED" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert "keeps running" in watching.communicate(timeout=60)[1]
    assert watching.returncode == 130
