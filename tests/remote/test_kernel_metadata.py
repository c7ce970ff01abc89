"""kernel-metadata.json: every mistake that the client would swallow is named; names and sources are filled in."""

import json
from pathlib import Path

import pytest

import build
import kernel_metadata
from tests.support.metadata import write_metadata


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with a right kernel-metadata.json."""
    write_metadata(tmp_path)
    return tmp_path


@pytest.fixture
def no_name(monkeypatch, tmp_path):
    """A user of whom the Kaggle client knows nothing; returns the folder in which it would look."""
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "kaggle"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    (tmp_path / "kaggle").mkdir()
    return tmp_path / "kaggle"


def refusal(root: Path) -> list[str]:
    with pytest.raises(kernel_metadata.BuildError) as refused:
        kernel_metadata.check_metadata(root, build.OUTPUT)
    return str(refused.value).splitlines()


def test_a_right_file_passes(root):
    assert kernel_metadata.check_metadata(root, build.OUTPUT)["language"] == "python"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enable_gpus": True}, "unknown key 'enable_gpus'; did you mean 'enable_gpu'?"),
        ({"zzz": True}, "unknown key 'zzz'"),
        ({"title": "FER"}, "title 'FER' becomes 'fer'"),
        ({"title": "FER!", "id": "me/fer"}, "title has 4 characters"),
        ({"title": "a" * 51, "id": "me/" + "a" * 51}, "title has 51 characters"),
        ({"id": "fer2013-expressions"}, "must be owner/"),
        ({"code_file": "kernel/other.py"}, 'code_file must be "kernel/fer2013.py", not "kernel/other.py"'),
        ({"language": "r"}, "language must be"),
        ({"kernel_type": "notebook"}, "kernel_type must be"),
        ({"enable_internet": True}, "enable_internet must be false, not true"),
        ({"enable_internet": "false"}, 'enable_internet must be false, not "false"'),
        ({"enable_gpu": "true"}, "enable_gpu must be true or false"),
        ({"machine_shape": "NvidiaTeslaT5"}, "machine_shape 'NvidiaTeslaT5' is not one of"),
        ({"machine_shape": "NvidiaTeslaP100"}, "machine_shape 'NvidiaTeslaP100' is not one of"),
        ({"competition_sources": []}, "competition_sources must name"),
        ({"dataset_sources": None}, "dataset_sources must be a list"),
        ({"dataset_sources": ["weights"]}, "dataset_sources: 'weights' must be owner/name"),
        ({"kernel_sources": ["me/a", "me/a/3"]}, "kernel_sources: 'me/a/3' must be owner/name"),
        ({"model_sources": ["me/m/pytorch/b0"]}, "model_sources: 'me/m/pytorch/b0' must be owner/model/framework/"),
        *(({key: "gone"}, f"key '{key}' is missing") for key in kernel_metadata.REQUIRED.split()),
    ],
)
def test_mistakes(root, changes, reason):
    write_metadata(root, **changes)
    lines = refusal(root)
    assert all(line.startswith("kernel-metadata.json: ") for line in lines)
    assert reason in "\n".join(lines)


@pytest.mark.parametrize("content", [None, "{", "[1]", "5"])
def test_a_file_that_cannot_be_read(root, content):
    (root / "kernel-metadata.json").unlink()
    if content is not None:
        (root / "kernel-metadata.json").write_text(content)
    assert refusal(root)[0].startswith("kernel-metadata.json: ")


def test_the_owner_is_the_one_that_the_client_knows(root, no_name, monkeypatch):
    with pytest.raises(kernel_metadata.BuildError, match="knows no name"):
        kernel_metadata.set_owner(root, "")
    (no_name / "kaggle.json").write_text('{"username": "from-file", "key": "0123"}')
    for name in ("from-file", "from-environment"):
        kernel_metadata.set_owner(root, "")
        assert kernel_metadata.owner_of(kernel_metadata.read_metadata(root)) == name
        monkeypatch.setenv("KAGGLE_USERNAME", "from-environment")


def test_a_dataset_is_added_once_and_nothing_else_changes(root):
    file = root / "kernel-metadata.json"
    before = file.read_text()
    assert kernel_metadata.add_dataset(root, "me/weights")
    assert not kernel_metadata.add_dataset(root, "me/weights")
    assert file.read_text() == before.replace('"dataset_sources": []', '"dataset_sources": ["me/weights"]')
    assert kernel_metadata.add_dataset(root, "me/more")
    assert json.loads(file.read_text())["dataset_sources"] == ["me/weights", "me/more"]
