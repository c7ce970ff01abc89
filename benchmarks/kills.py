"""Kills runs at random moments, lets them go on, and compares the end with that of a run that nobody killed.

    python benchmarks/kills.py --kills 1000 --json kills.json

A process that has torch loaded is forked, so that a start costs no seconds. The runs are the quick recipe's members on
a few made-up faces, with a checkpoint after every step.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src import config, recipes
from src.data import synthetic
from src.errors import UserError
from src.run import run
from src.submit.check import check_submission
from src.train import guard

ROWS, TESTS = 120, 40
SETTINGS = (
    *("epochs=3", "batch_size=16", "compact_cnn.ema=0.9"),
    *("simple_cnn_v2.class_balancing=sampler", "simple_cnn_v2.schedule=plateau"),
)
MEMBERS = ("compact_cnn", "simple_cnn_v2")
HEADER = {"digest": "0" * 16, "commit": "none", "dirty": False}
FORK = multiprocessing.get_context("fork")


def faces(folder: Path) -> Path:
    """The competition's files with few enough faces for a run of seconds."""
    synthetic.write_files(folder, train=ROWS, test=TESTS, seed=2)
    return folder


def train(source: Path, output: Path) -> None:
    """The child's part: one run."""
    guard.EVERY = 0.0
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        run(config.override(recipes.get("quick"), list(SETTINGS)), HEADER, source, output, device="cpu")


def child(source: Path, output: Path) -> multiprocessing.Process:
    """A run in a forked process. torch must have one thread here: threads do not survive a fork."""
    process = FORK.Process(target=train, args=(source, output))
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
    """What came of the kills. Zero in the last three is what must be."""

    kills: int = 0
    runs: int = 0
    kills_after_a_member: int = 0
    without_submission: int = 0
    failed: int = 0
    different: list[str] = field(default_factory=list)


def broken_run(
    source: Path, output: Path, kills: int, seconds: float, random: np.random.Generator, tally: Tally
) -> None:
    """One run, killed up to so many times at moments drawn over `seconds`, then left to its end."""
    for _ in range(kills):
        process = child(source, output)
        process.join(timeout=random.uniform(0, seconds))
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        tally.kills += 1
        tally.kills_after_a_member += bool(finished(output))
        tally.without_submission += without_submission(output)
    else:
        process = child(source, output)
        process.join()
    tally.runs += 1
    tally.failed += process.exitcode != 0


def measure(kills: int, a_run: int, seed: int, say=print) -> Tally:
    """Kills until there are enough, `a_run` in each run, and compares each end with an unbroken one's."""
    random, tally = np.random.default_rng(seed), Tally()
    with tempfile.TemporaryDirectory() as folder:
        source, started = faces(Path(folder, "faces")), time.monotonic()
        process = child(source, Path(folder, "whole"))
        process.join()
        seconds, whole = time.monotonic() - started, content(Path(folder, "whole"))
        while tally.kills < kills:
            output = Path(folder, f"run{tally.runs}")
            broken_run(source, output, min(a_run, kills - tally.kills), 0.6 * seconds, random, tally)
            found = content(output)
            tally.different += [f"run {tally.runs}: {name}" for name in whole if found[name] != whole[name]]
            say(f"{tally.kills} kills in {tally.runs} runs; {len(tally.different)} different")
    return tally


def main() -> None:
    """The command line; exit code 1 where a run ended otherwise than it must."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--a-run", type=int, default=5, help="kills in one run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    tally = measure(arguments.kills, arguments.a_run, arguments.seed)
    figures = asdict(tally) | {"seconds": round(time.monotonic() - started), "torch": torch.__version__}
    print(json.dumps(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(bool(tally.without_submission or tally.failed or tally.different))


if __name__ == "__main__":
    main()
