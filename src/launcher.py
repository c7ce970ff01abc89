"""Starts torchrun for a run on several devices, so that the user starts one script and gets one exit code."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from src.supervisor import LAUNCHER, SAME, STARTED, die_with_parent, own_command, processors

POLL = 0.2  # seconds


def gpus(environment=os.environ, devices: Path = Path("/dev")) -> int:
    """The GPUs that this process may see, without torch, which takes seconds to import."""
    present = sum(file.name.removeprefix("nvidia").isdigit() for file in devices.glob("nvidia*"))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return present if visible is None else min(present, sum(bool(one.strip()) for one in visible.split(",")))


def launch(workers: int, arguments: list[str], started: float) -> int:
    """Runs this script with these arguments on so many ranks of this machine; returns the run's exit code.

    started: when this process was, in seconds since 1970: from there on a run's budget counts.
    """
    folder = Path(tempfile.mkdtemp(prefix="fer2013-ranks-"))
    share = str(max(1, processors() // workers))
    more = {STARTED: str(started), LAUNCHER: str(folder), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", share)}
    try:
        code = wait(start(workers, arguments, more), folder)
        left = [int(file.read_text()) for file in folder.glob("code.*") if file.suffix != ".partial"]
        return max(left) if left else max(1, code)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(workers: int, arguments: list[str], more: dict[str, str]) -> subprocess.Popen:
    """torchrun, in a session of its own: what the terminal sends comes through this process alone."""
    script = own_command()
    module = ["--module", *script[1:]] if script[0] == "-m" else script
    # By number: a kernel without network may not know its own name.
    torchrun = ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(workers)]
    command = [sys.executable, "-m", *torchrun, *module, *arguments]
    die = die_with_parent(signal.SIGTERM)
    return subprocess.Popen(command, env=os.environ | more, start_new_session=True, preexec_fn=die)


def wait(torchrun: subprocess.Popen, folder: Path) -> int:
    """Waits for torchrun; each signal goes to its ranks themselves, that end in order. Its own exit code."""
    waiting: list[int] = []
    heard = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
    heard = [number for number in heard if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda n, frame: waiting.append(n)) for number in heard}
    try:
        while torchrun.poll() is None:
            if waiting and deliver(waiting[0], torchrun, folder):
                waiting.pop(0)
                time.sleep(SAME)  # of two that follow each other at once, the second is one too
            time.sleep(POLL)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    return torchrun.returncode


def deliver(number: int, torchrun: subprocess.Popen, folder: Path) -> bool:
    """Sends a signal to the ranks; False where they are not there yet."""
    pids = [int(file.read_text()) for file in folder.glob("pid.*") if file.suffix != ".partial"]
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    return bool(pids)
