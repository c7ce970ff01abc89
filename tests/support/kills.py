"""Kills runs at random moments, starts them again, and compares the end with that of a run that nobody killed.

    OMP_NUM_THREADS=1 python -c "from tests.support.kills import measure; print(measure(200, 5, seed=1, report=print))"

A process that has torch loaded is forked, so that a start costs no seconds. The runs are the quick recipe's members on
a few synthetic faces, with a checkpoint after every step. torch must have one thread: threads do not survive a fork.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from src.data import synthetic
from src.errors import UserError
from src.submit.check import check_submission
from tests.support.small_runs import MEMBERS, train

ROWS, TESTS = 120, 40
SETTINGS = (
    *("epochs=3", "batch_size=16", "compact_cnn.ema=0.9"),
    *("simple_cnn_v2.class_balancing=sampler", "simple_cnn_v2.schedule=plateau"),
)
FORK = multiprocessing.get_context("fork")


def write_faces(folder: Path) -> Path:
    """The competition's files with few enough faces for a run of seconds."""
    synthetic.write_files(folder, train=ROWS, test=TESTS, seed=2)
    return folder


def train_quietly(source: Path, output: Path) -> None:
    """One run."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        train(source, output, *SETTINGS, checkpoint_seconds=0.0)


def start_run(source: Path, output: Path) -> multiprocessing.Process:
    """A run in a forked process."""
    process = FORK.Process(target=train_quietly, args=(source, output))
    process.start()
    return process


def content(output: Path) -> dict[str, bytes]:
    """What must be equal to the bit: submission, weights, probabilities."""
    found = {"submission": (output / "submission.csv").read_bytes()}
    for member in MEMBERS:
        found[member] = (output / "members" / member / "model.safetensors").read_bytes()
        found[f"{member} probs"] = np.load(output / "predictions" / f"{member}.npz")["probs"].tobytes()
    return found


def finished(output: Path) -> list[str]:
    """The members that run.json calls finished."""
    path = output / "run.json"
    return list(json.loads(path.read_text())["members"]) if path.exists() else []


def without_submission(output: Path) -> bool:
    """Whether a member is finished and no valid submission is there."""
    try:
        return bool(finished(output)) and check_submission(output / "submission.csv", TESTS).rows != TESTS
    except (OSError, UserError):
        return True


@dataclass
class Tally:
    """What came of the kills. The last three must be empty."""

    kills: int = 0
    runs: int = 0
    without_submission: int = 0
    failed: int = 0
    different: list[str] = field(default_factory=list)


def broken_run(source: Path, output: Path, moments: list[float], tally: Tally) -> None:
    """One run, killed so many seconds after each of its starts, then left to its end."""
    for seconds in moments:
        process = start_run(source, output)
        process.join(timeout=seconds)
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        tally.kills += 1
        tally.without_submission += without_submission(output)
    else:
        process = start_run(source, output)
        process.join()
    tally.runs += 1
    tally.failed += process.exitcode != 0


def measure(kills: int, kills_per_run: int, seed: int, report=lambda _: None) -> Tally:
    """Kills until there are enough, and compares the end of each run with that of an unbroken one."""
    random, tally = np.random.default_rng(seed), Tally()
    with tempfile.TemporaryDirectory() as folder:
        source, started = write_faces(Path(folder, "faces")), time.monotonic()
        process = start_run(source, Path(folder, "whole"))
        process.join()
        seconds, whole = time.monotonic() - started, content(Path(folder, "whole"))
        while tally.kills < kills:
            output = Path(folder, f"run{tally.runs}")
            moments = random.uniform(0, 0.6 * seconds, min(kills_per_run, kills - tally.kills)).tolist()
            broken_run(source, output, moments, tally)
            found = content(output)
            tally.different += [f"run {tally.runs}: {name}" for name in whole if found[name] != whole[name]]
            report(f"{tally.kills} kills in {tally.runs} runs; {len(tally.different)} different")
    return tally
