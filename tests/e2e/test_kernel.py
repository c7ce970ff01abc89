"""The built script itself, started as a Kaggle kernel starts it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from src.submit.check import check_submission
from tests.conftest import ROOT
from tests.support.project import build_script
from tests.support.terminal import too_wide

FAULT = """
import torch.nn.functional as F

def broken(*arguments, **options):
    raise RuntimeError("a fault from within training")

F.cross_entropy = broken
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    """The script, built with a small recipe, alone in a folder that cannot be written to."""
    folder = tmp_path_factory.mktemp("kaggle") / "src"
    folder.mkdir()
    shutil.copy(build_script(folder.parent / "project", "quick", "epochs=1"), folder / "script.py")
    folder.chmod(0o555)
    yield folder / "script.py"
    folder.chmod(0o755)


def popen(script: Path, faces: Path, output: Path, *arguments: str, **more: str) -> subprocess.Popen:
    """The script as a kernel starts it, without what could make it find the sources by another way."""
    (output.parent / "elsewhere").mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    kernel = {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "FER_INPUT": str(faces), "FER_OUTPUT": str(output)}
    options = {"cwd": output.parent / "elsewhere", "env": kept | kernel | {"TMPDIR": str(output.parent)} | more}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(script), *arguments], **options, **pipes)


def run_script(script: Path, faces: Path, output: Path, **more: str) -> subprocess.CompletedProcess:
    with popen(script, faces, output, **more) as run:
        said = run.communicate(timeout=300)
    return subprocess.CompletedProcess(run.args, run.returncode, *said)


def test_alone_and_without_arguments_it_does_the_run_that_was_built_in(script, faces, tmp_path):
    done = run_script(script, faces, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [m["epochs"] for m in record["recipe"]["members"]] == [1, 1]
    assert record["environment"]["kernel"] == "Batch"
    digest = record["code"]["digest"]
    lines = done.stdout.splitlines()
    assert lines[:2] == ["overrides: epochs=1", "loading torch …"]
    assert re.fullmatch("[0-9a-f]{16}", digest) and lines[2].startswith(f"fer2013-kit {digest}, commit ")
    assert not too_wide(done.stdout + done.stderr) and done.stderr == ""
    logged = (tmp_path / "out" / "log.txt").read_text().splitlines()
    assert all(re.match(r"[0-2]\d:[0-5]\d:[0-5]\d ", line) for line in logged) and len(logged) > 10
    assert check_submission(tmp_path / "out" / "submission.csv", 80, faces / "example_submission.csv").rows == 80
    assert "confusion-compact_cnn" in str([*(tmp_path / "out" / "figures").iterdir()])
    assert (tmp_path / "out" / "report.html").read_text("utf-8").rstrip().endswith("</html>")
    assert [f.name for f in script.parent.iterdir()] == ["script.py"]
    assert not any((tmp_path / "elsewhere").iterdir())
    predict_with(script, faces, tmp_path / "out")


def predict_with(script: Path, faces: Path, run: Path) -> None:
    """The script predicts a picture with the networks of its run."""
    picture = run.parent / "face.png"
    Image.new("RGB", (60, 50), (90, 90, 90)).save(picture)
    with popen(script, faces, run, "predict", str(run), str(picture)) as process:
        said, error = process.communicate(timeout=100)
    assert process.returncode == 0 and "face.png" in said and not too_wide(said), error
    header, row = (run / "predict" / "predictions.csv").read_text("utf-8").splitlines()
    assert header.startswith("file,class,Angry,") and row.startswith(f"{picture},")
    assert (run / "predict" / "predictions.html").read_text("utf-8").rstrip().endswith("</html>")


def test_a_fault_in_training_ends_with_1_and_a_traceback_that_names_the_source(script, faces, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    failed = run_script(script, faces, tmp_path / "out", PYTHONPATH=str(tmp_path))
    assert failed.returncode == 1
    where = re.search(r'File ".*(src/train/trainer\.py)", line (\d+), in gradient\n +(.+)', failed.stderr)
    assert where and "a fault from within training" in failed.stderr
    source = (ROOT / where[1]).read_text().splitlines()
    assert source[int(where[2]) - 1].strip() == where[3].strip()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] != "finished"


def begin(script: Path, faces: Path, output: Path, sign: Callable[[], bool], **more: str) -> subprocess.Popen:
    """A run whose second member would take minutes; it has given the sign."""
    run = popen(script, faces, output, "run", "--set", "simple_cnn_v2.epochs=500", **more)
    deadline = time.monotonic() + 200
    while not sign() and time.monotonic() < deadline:
        time.sleep(0.1)
    return run


def test_a_signal_ends_the_run_in_order_and_the_same_command_continues(script, faces, tmp_path):
    output = tmp_path / "out"
    signs = {
        signal.SIGINT: (output / "members/simple_cnn_v2/checkpoint.pt").exists,
        signal.SIGTERM: lambda: "simple_cnn_v2: continues after" in (output / "log.txt").read_text(),
    }
    for number, sign in signs.items():
        with begin(script, faces, output, sign) as run:
            run.send_signal(number)
            assert "to continue" in run.communicate(timeout=100)[1]
        assert run.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert json.loads((output / "run.json").read_text())["status"] == "interrupted"
        assert check_submission(output / "submission.csv", 80).rows == 80
    assert (output / "log.txt").read_text().count("compact_cnn: already finished") == 1


SLEEPER = """
import os, time
import torch.nn.functional as F

cross_entropy = F.cross_entropy

def slow(*arguments, **options):
    if os.path.exists(os.environ["FER_OUTPUT"] + "/members/simple_cnn_v2/checkpoint.pt"):
        open(os.environ["FER_OUTPUT"] + "/hangs", "w").close()
        time.sleep(300)
    return cross_entropy(*arguments, **options)

F.cross_entropy = slow
"""


def test_a_second_signal_ends_at_once_and_the_submission_stays(script, faces, tmp_path):
    """The run hangs within a step; the first signal waits for its end."""
    (tmp_path / "sitecustomize.py").write_text(SLEEPER)
    output = tmp_path / "out"
    with begin(script, faces, output, (output / "hangs").exists, PYTHONPATH=str(tmp_path)) as run:
        run.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(timeout=3)
        run.send_signal(signal.SIGTERM)
        assert "once more ends at once" in run.communicate(timeout=100)[1]
    assert run.returncode == 143
    assert check_submission(output / "submission.csv", 80).rows == 80
