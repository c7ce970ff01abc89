"""Small runs of the quick recipe, by the command line and by a request."""

from pathlib import Path

from src import config, recipes
from src.main import main
from src.run.context import RunRequest
from src.run.record import Code, RunRecord
from src.run.run import run
from tests.conftest import fake_bundle

MEMBERS = ("compact_cnn", "simple_cnn_v2")
SETTINGS = ("epochs=1", "batch_size=32", "max_train_rows=150")
CODE = Code("0" * 16, "abc1234", False)


def start(faces: Path, output: Path, *more: str, bundle: dict | None = None) -> int:
    """The exit code of the `run` command."""
    command = ["run", "--recipe", "quick", "--set", *SETTINGS, "--input", str(faces), "--output", str(output)]
    return main([*command, "--device", "cpu", *more], bundle or fake_bundle())


def request(faces: Path, output: Path, *settings: str, **options) -> RunRequest:
    """The same run, with other settings."""
    recipe = config.override(recipes.get("quick"), [*SETTINGS, *settings])
    return RunRequest(recipe, **{"code": CODE, "input": faces, "output": output, "device": "cpu"} | options)


def train(faces: Path, output: Path, *settings: str, **options) -> RunRecord:
    """Does that run."""
    return run(request(faces, output, *settings, **options))


def log(output: Path) -> str:
    """The run's log."""
    return (output / "log.txt").read_text()


def weights(output: Path) -> list[bytes]:
    """What the members have learned."""
    return [(output / "members" / name / "model.safetensors").read_bytes() for name in MEMBERS]
