"""kernel-metadata.json: every mistake that the client would swallow is named; names and sources are filled in."""

import json
from pathlib import Path

import pytest

import build
import kernel_metadata
from kernel_metadata import COMPETITION
from tests.support.metadata import write_metadata


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with a right kernel-metadata.json."""
    write_metadata(tmp_path)
    return tmp_path


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
        ({"competition_sources": ["another-competition"]}, "competition_sources must name"),
        ({"competition_sources": [COMPETITION.replace("facial", "facail")]}, "competition_sources must name"),
        ({"dataset_sources": ["weights"]}, "dataset_sources: 'weights' must be owner/name"),
        ({"dataset_sources": ["datasets/weights"]}, "dataset_sources: 'datasets/weights' must be owner/name"),
        ({"model_sources": ["me/m/pytorch/b0"]}, "model_sources: 'me/m/pytorch/b0' must be owner/model/framework/"),
        *(({key: "gone"}, f"key '{key}' is missing") for key in kernel_metadata.REQUIRED.split()),
    ],
)
def test_mistakes(root, changes, reason):
    write_metadata(root, **changes)
    lines = refusal(root)
    assert all(line.startswith("kernel-metadata.json: ") for line in lines)
    assert reason in "\n".join(lines)


@pytest.mark.parametrize(
    ("key", "given", "exact"),
    [
        ("competition_sources", f"c/{COMPETITION}", COMPETITION),
        ("competition_sources", f"competitions/{COMPETITION}", COMPETITION),
        ("competition_sources", f"/competitions/{COMPETITION}/", COMPETITION),
        ("competition_sources", f"https://www.kaggle.com/c/{COMPETITION}/data", COMPETITION),
        ("competition_sources", f"kaggle.com/competitions/{COMPETITION}?tab=x", COMPETITION),
        ("competition_sources", f"/kaggle/input/competitions/{COMPETITION}", COMPETITION),
        ("competition_sources", f" {COMPETITION}\n", COMPETITION),
        ("competition_sources", COMPETITION.title(), COMPETITION),
        ("competition_sources", COMPETITION.replace("-", " ").title(), COMPETITION),
        ("dataset_sources", "datasets/me/weights", "me/weights"),
        ("dataset_sources", "https://www.kaggle.com/datasets/me/weights/versions/3", "me/weights/3"),
        ("dataset_sources", "/kaggle/input/datasets/me/weights", "me/weights"),
        ("dataset_sources", "me/Weights", "me/weights"),
        ("dataset_sources", "me/my weights", "me/my-weights"),
        ("dataset_sources", " me/weights", "me/weights"),
        ("kernel_sources", "code/me/notebook", "me/notebook"),
        ("kernel_sources", "https://www.kaggle.com/code/me/notebook?scriptVersionId=1", "me/notebook"),
        ("kernel_sources", "me/notebook/3", "me/notebook"),
        ("kernel_sources", "me/Note Book", "me/note-book"),
        ("model_sources", "models/me/m/PyTorch/b0/1", "me/m/PyTorch/b0/1"),
        ("model_sources", "https://www.kaggle.com/models/me/m/PyTorch/b0/1", "me/m/PyTorch/b0/1"),
        ("id", "https://www.kaggle.com/code/me/FER2013-expressions", "me/fer2013-expressions"),
        ("id", "me/FER2013 expressions", "me/fer2013-expressions"),
    ],
)
def test_a_name_that_is_not_exact_is_refused_with_the_right_form(root, key, given, exact):
    write_metadata(root, **{key: given if key == "id" else [given]})
    (line,) = [line for line in refusal(root) if "must name" not in line]
    assert line == f"kernel-metadata.json: {key}: {given!r} must be {exact!r}"
    write_metadata(root, **{key: exact if key == "id" else [exact]})
    assert kernel_metadata.check_metadata(root, build.OUTPUT)


def test_exact_names_of_every_kind_pass(root):
    sources = {"dataset_sources": ["Cornell-University/arxiv", "me/weights/3"], "kernel_sources": ["me/notebook"]}
    sources |= {"model_sources": ["google/gemma-2/Transformers/gemma-2-2b/1"]}
    write_metadata(root, competition_sources=["digit-recognizer", COMPETITION], **sources)
    assert kernel_metadata.check_metadata(root, build.OUTPUT)


@pytest.mark.parametrize("content", [None, "{", "[1]", "5"])
def test_a_file_that_cannot_be_read(root, content):
    (root / "kernel-metadata.json").unlink()
    if content is not None:
        (root / "kernel-metadata.json").write_text(content)
    assert refusal(root)[0].startswith("kernel-metadata.json: ")


def test_the_owner_is_the_one_that_the_client_knows(root, no_account):
    with pytest.raises(kernel_metadata.BuildError, match="knows no name"):
        kernel_metadata.set_owner(root, "")
    (no_account / "kaggle.json").write_text('{"username": "me", "key": "0123"}')
    kernel_metadata.set_owner(root, "")
    assert kernel_metadata.owner_of(kernel_metadata.read_metadata(root)) == "me"


def test_a_dataset_is_added_once_and_nothing_else_changes(root):
    file = root / "kernel-metadata.json"
    before = file.read_text()
    assert kernel_metadata.add_dataset(root, "me/weights")
    assert not kernel_metadata.add_dataset(root, "me/weights")
    assert file.read_text() == before.replace('"dataset_sources": []', '"dataset_sources": ["me/weights"]')
    assert kernel_metadata.add_dataset(root, "me/more")
    assert json.loads(file.read_text())["dataset_sources"] == ["me/weights", "me/more"]


def test_a_dataset_is_added_where_there_is_no_list_of_them(root):
    content = json.loads((file := root / "kernel-metadata.json").read_text())
    del content["dataset_sources"]
    file.write_text(json.dumps(content, indent=2))
    assert kernel_metadata.add_dataset(root, "me/weights")
    assert json.loads(file.read_text()) == content | {"dataset_sources": ["me/weights"]}


@pytest.mark.parametrize(
    "name", ["weights", "Weights", "me/weights", "me/weights/3", "https://www.kaggle.com/datasets/me/weights"]
)
def test_a_dataset_is_removed_by_any_of_its_names_and_nothing_else_changes(root, name):
    file = write_metadata(root, dataset_sources=["me/weights/3", "me/more-weights"])
    before = file.read_text()
    assert kernel_metadata.remove_dataset(root, name) == "me/weights/3"
    assert json.loads(file.read_text()) == json.loads(before) | {"dataset_sources": ["me/more-weights"]}


@pytest.mark.parametrize(
    ("sources", "words"),
    [([], "has: none"), (["me/other"], "has: me/other"), (["a/weights", "b/weights"], "several"), (None, "a list")],
)
def test_a_dataset_that_is_not_there_or_not_the_only_one_is_not_removed(root, sources, words):
    before = write_metadata(root, dataset_sources=sources).read_bytes()
    with pytest.raises(kernel_metadata.BuildError, match=words):
        kernel_metadata.remove_dataset(root, "weights")
    assert (root / kernel_metadata.NAME).read_bytes() == before
