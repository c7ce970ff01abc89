"""A run that is killed continues, and ends as if it had never stopped: to the bit, and never without a submission.

A server that has torch loaded is forked, so that a start costs no seconds. Not the process of the tests: others of
them may have started threads of torch, which do not survive a fork.
`FER_KILLS=200` kills as many times, at other moments each time.
"""

import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from src.data import synthetic
from src.submit.check import check_submission
from tests.support.small_runs import MEMBERS, train, train_killed, train_on_one_thread, weights

pytestmark = pytest.mark.usefixtures("one_thread")
KILLS = int(os.environ.get("FER_KILLS") or 0)
SETTINGS = (
    *("epochs=3", "batch_size=16", "compact_cnn.ema=0.9"),
    *("simple_cnn_v2.class_balancing=sampler", "simple_cnn_v2.schedule=plateau"),
)
OPTIONS = {"checkpoint_seconds": 0.0}  # after every step
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["src.run.run", "src.report.run_report", "tests.support.small_runs"])


@pytest.fixture
def faces_folder(tmp_path) -> Path:
    """The competition's files with few enough faces for a run of seconds."""
    synthetic.write_files(tmp_path / "faces", train=120, test=40, seed=2)
    return tmp_path / "faces"


def content(output: Path) -> list[bytes]:
    """What must be equal to the bit: submission, weights, probabilities."""
    probs = [np.load(output / "predictions" / f"{member}.npz")["probs"].tobytes() for member in MEMBERS]
    return [(output / "submission.csv").read_bytes(), *weights(output), *probs]


def kill_and_finish(faces_folder: Path, output: Path, moments: list[float]) -> int:
    """One run, killed so many seconds after each of its starts, then left to its end; the number of kills."""
    kills = 0
    for seconds in [*moments, None]:
        process = SERVER.Process(target=train_on_one_thread, args=(faces_folder, output, *SETTINGS), kwargs=OPTIONS)
        process.start()
        process.join(seconds)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
        record = output / "run.json"
        if record.exists() and json.loads(record.read_text())["members"]:
            assert check_submission(output / "submission.csv", 40).rows == 40
    assert process.exitcode == 0
    return kills


def test_a_run_that_is_killed_at_random_moments_ends_to_the_bit_as_one_that_is_not(faces_folder, tmp_path):
    warm_up = SERVER.Process(target=time.sleep, args=(0,))  # the server imports torch before the clock starts
    warm_up.start()
    warm_up.join()
    random, started, kills = np.random.default_rng(None if KILLS else 7), time.monotonic(), 0
    assert kill_and_finish(faces_folder, tmp_path / "whole", []) == 0
    seconds, number = time.monotonic() - started, 0
    while kills < (KILLS or 4):
        output, number = tmp_path / f"run{number}", number + 1
        kills += kill_and_finish(faces_folder, output, random.uniform(0, 0.6 * seconds, 4).tolist())
        assert content(output) == content(tmp_path / "whole")


def test_a_run_that_is_killed_between_run_json_and_checkpoint_has_lost_no_epoch(faces_folder, tmp_path):
    """run.json then knows of an epoch that the checkpoint has not: its last one is of the step before."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(faces_folder, whole, *SETTINGS, **OPTIONS)
    train_killed(lambda trainer, state: state.epochs == 2, faces_folder, broken, *SETTINGS, **OPTIONS)
    assert json.loads((broken / "run.json").read_text())["progress"]["compact_cnn"]["epochs"] == 2
    train(faces_folder, broken, *SETTINGS, **OPTIONS)
    assert content(broken) == content(whole)
