"""Small runs of the quick recipe, by the command line and by a request."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from src import config, recipes
from src.main import main
from src.run.context import RunRequest
from src.run.record import Code, RunRecord
from src.run.run import run
from src.train.callbacks import TrainingCallbacks
from tests.conftest import fake_bundle

MEMBERS = ("compact_cnn", "simple_cnn_v2")
SETTINGS = ("epochs=1", "batch_size=32", "max_train_rows=150")
CODE = Code("0" * 16, "abc1234", False)


def run_command(faces: Path, output: Path, *more: str, bundle: dict | None = None) -> int:
    """The exit code of the `run` command, without its report, which takes seconds."""
    command = ["run", "--recipe", "quick", "--set", *SETTINGS, "--input", str(faces), "--output", str(output)]
    return main([*command, "--device", "cpu", "--no-report", *more], bundle or fake_bundle())


def request(faces: Path, output: Path, *settings: str, **options) -> RunRequest:
    """The same run, with other settings."""
    recipe = config.override(recipes.get("quick"), [*SETTINGS, *settings])
    return RunRequest(
        recipe, **{"code": CODE, "input": faces, "output": output, "device": "cpu", "report": False} | options
    )


def train(faces: Path, output: Path, *settings: str, **options) -> RunRecord:
    """Does that run."""
    return run(request(faces, output, *settings, **options))


def train_on_one_thread(*arguments, **options) -> None:
    """Does that run in a process of its own, where torch would take all cores."""
    torch.set_num_threads(1)
    train(*arguments, **options)


class Killed(BaseException):
    """As if the process had gone."""


def train_killed(when: Callable, faces: Path, output: Path, *settings: str, **options) -> None:
    """Does that run up to the first step or epoch after which `when`, which takes trainer and state, is true."""

    def killed(hook: Callable) -> Callable:
        def call(self, trainer, state):
            hook(self, trainer, state)
            if when(trainer, state):
                self.checkpoints.join()
                raise Killed

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("on_batch_end", "on_epoch_end"):
            patch.setattr(TrainingCallbacks, name, killed(getattr(TrainingCallbacks, name)))
        with pytest.raises(Killed):
            train(faces, output, *settings, **options)


def read_log(output: Path) -> str:
    """The run's log."""
    return (output / "log.txt").read_text()


def weights(output: Path) -> list[bytes]:
    """What the members have learned."""
    return [(output / "members" / name / "model.safetensors").read_bytes() for name in MEMBERS]
