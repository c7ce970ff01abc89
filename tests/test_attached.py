"""An earlier run that is attached as an input is taken over where it is this very run, and named where it is not."""

import json
import shutil
from pathlib import Path

import pytest

from src import config, recipes
from src.run import run
from src.train import guard
from src.train.guard import Guard
from tests.conftest import fake_bundle

SETTINGS = ["epochs=2", "max_train_rows=150", "batch_size=32"]


def train(source: Path, output: Path, *settings: str, **header) -> dict:
    recipe = config.override(recipes.get("quick"), [*SETTINGS, *settings])
    return run(recipe, fake_bundle(**header), source, output, device="cpu")


class Killed(BaseException):
    """As if the process had gone."""


@pytest.fixture(scope="module")
def halves(faces, tmp_path_factory) -> tuple[Path, Path]:
    """A run that was broken off in its second member, after a checkpoint, and the same one whole."""
    folder = tmp_path_factory.mktemp("halves")
    patch = pytest.MonkeyPatch()
    between = Guard.between

    def killed(self, trainer, course):
        between(self, trainer, course)
        if trainer.member.name == "simple_cnn_v2" and len(course.history) == 1 and trainer.half.step == 2:
            self.keeper.join()
            raise Killed

    patch.setattr(Guard, "between", killed)
    patch.setattr(guard, "EVERY", 0.0)
    with pytest.raises(Killed):
        train(faces, folder / "broken")
    patch.undo()
    train(faces, folder / "whole")
    return folder / "broken", folder / "whole"


@pytest.fixture
def attached(faces, halves, tmp_path) -> Path:
    """The competition's files, and beside them the broken run, as a kernel has its inputs: not to be written to."""
    shutil.copytree(faces, tmp_path / "input" / "competitions" / "faces")
    earlier = shutil.copytree(halves[0], tmp_path / "input" / "notebooks" / "me" / "fer2013")
    for path in earlier.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield tmp_path / "input"
    for path in earlier.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def equal(one: Path, other: Path) -> bool:
    names = ["submission.csv", *(f"members/{m}/model.safetensors" for m in ("compact_cnn", "simple_cnn_v2"))]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_finished_members_are_taken_over_and_the_half_trained_one_goes_on_to_the_bit(attached, halves, tmp_path):
    train(attached, tmp_path / "out")
    said = (tmp_path / "out" / "log.txt").read_text()
    assert "goes on with the run attached in" in said and "compact_cnn: finished before" in said
    assert "simple_cnn_v2: goes on after epoch 1, step 2 of the next" in said
    assert equal(tmp_path / "out", halves[1])


@pytest.mark.parametrize(
    ("settings", "header", "why"),
    [
        (["lr=0.01"], {}, "other settings"),
        ([], {"digest": "f" * 16}, "other sources"),
    ],
)
def test_another_run_is_not_taken_over_and_it_is_said_why(attached, tmp_path, settings, header, why):
    train(attached, tmp_path / "out", *settings, **header)
    said = (tmp_path / "out" / "log.txt").read_text()
    assert f"an earlier run, not taken over: {why}" in said and "finished before" not in said


def test_a_run_on_other_data_is_not_taken_over(attached, tmp_path):
    path = attached / "notebooks/me/fer2013/run.json"
    path.chmod(0o644)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_digest": "0" * 16}))
    train(attached, tmp_path / "out")
    assert "not taken over: other data" in (tmp_path / "out" / "log.txt").read_text()


def test_a_damaged_run_json_is_passed_over(attached, tmp_path):
    path = attached / "notebooks/me/fer2013/run.json"
    path.chmod(0o644)
    path.write_text("{")
    train(attached, tmp_path / "out")
    assert "not taken over: its run.json is damaged" in (tmp_path / "out" / "log.txt").read_text()


def test_what_the_output_folder_holds_goes_before_what_is_attached(attached, halves, tmp_path):
    shutil.copytree(halves[1], tmp_path / "out")
    train(attached, tmp_path / "out")
    said = (tmp_path / "out" / "log.txt").read_text()
    assert "attached" not in said and said.count("finished before") == 2
