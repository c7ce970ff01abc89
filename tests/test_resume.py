"""A run that is killed goes on, and ends as if it had never stopped: to the bit, and never without a submission."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from src import config, recipes
from src.data.sample import write
from src.run import run
from src.submit import check
from src.train import guard
from tests.conftest import fake_bundle

TESTS = 40
SETTINGS = (
    "epochs=3",
    "batch=16",
    "compact_cnn.ema=0.9",
    "simple_cnn_v2.balance=sampler",
    "simple_cnn_v2.schedule=plateau",
)
FORK = multiprocessing.get_context("fork")  # the children have torch loaded: a start takes no seconds


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """Faces for a run of about a second."""
    folder = tmp_path_factory.mktemp("few")
    write(folder, train=120, test=TESTS, seed=2)
    return folder


def train(source: Path, output: Path) -> None:
    """A run with a checkpoint after every step. It is a child's: one thread, since threads do not survive a fork."""
    guard.EVERY = 0.0
    recipe = config.override(recipes.get("quick"), list(SETTINGS))
    run(recipe, fake_bundle(), source, output, device="cpu")


def child(source: Path, output: Path) -> multiprocessing.Process:
    process = FORK.Process(target=train, args=(source, output))
    process.start()
    return process


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unbroken(few, tmp_path_factory) -> tuple[Path, float]:
    """A run that nobody interrupts, and its seconds."""
    output, started = tmp_path_factory.mktemp("unbroken") / "out", time.monotonic()
    process = child(few, output)
    process.join()
    assert process.exitcode == 0
    return output, time.monotonic() - started


def content(output: Path) -> dict[str, bytes]:
    """What must be equal to the bit: submission, weights, probabilities."""
    found = {"submission": (output / "submission.csv").read_bytes()}
    for member in ("compact_cnn", "simple_cnn_v2"):
        found[member] = (output / "members" / member / "model.safetensors").read_bytes()
        found[f"{member} probs"] = np.load(output / "predictions" / f"{member}.npz")["probs"].tobytes()
    return found


def finished(output: Path) -> list[str]:
    path = output / "run.json"
    return list(json.loads(path.read_text())["members"]) if path.exists() else []


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_at_random_moments_ends_to_the_bit_as_one_that_is_not(few, unbroken, tmp_path, seed):
    """At least four kills each; after each one, a finished member means a valid submission."""
    output, random, kills = tmp_path / "out", np.random.default_rng(seed), 0
    while True:
        process = child(few, output)
        process.join(timeout=random.uniform(0.05, 0.5) * unbroken[1] if kills < 4 else None)
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
        if finished(output):
            assert check.check(output / "submission.csv", TESTS).rows == TESTS
    assert process.exitcode == 0 and kills == 4
    assert content(output) == content(unbroken[0])
