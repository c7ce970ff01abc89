"""Pretrained weights: which file is found, that a file cannot run code, that a damaged one is a clear error.

No test asks a hub: its client and its address are replaced.
"""

import io
import os
import pickle
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import Tensor, nn

from src import models
from src.errors import UserError
from src.models import pretrained

TINY = "test_resnet"
PUBLISHED = {"architecture": "resnet18", "hf_hub_id": "timm/resnet18.a1"}
STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """Whatever would ask a server is caught."""

    def caught(request, *_, **__):
        raise urllib.error.URLError(f"a test asked for {getattr(request, 'full_url', request)}")

    monkeypatch.setattr(urllib.request, "urlopen", caught)


def published(**changes) -> nn.Module:
    """timm's tiny network as its weights are published: three channels and 1,000 classes."""
    return timm.create_model(TINY, **changes)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(5)
    file = tmp_path_factory.mktemp("weights") / f"{TINY}.safetensors"
    save_file(published().state_dict(), file)
    return file


def body() -> nn.Module:
    return models.body_of(models.create(f"timm:{TINY}", image_size=48))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# ---------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("wrapper", [None, *pretrained.WRAPPER_KEYS])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_torchs_files_of_both_forms_are_read_bare_and_as_training_scripts_wrap_them(tmp_path, suffix, wrapper):
    state = {f"module.{key}": value for key, value in STATE.items()}  # the prefix of a training on several devices
    content = {wrapper: state, "epoch": 3} if wrapper else state
    torch.save(content, tmp_path / f"w{suffix}", _use_new_zipfile_serialization=suffix != ".bin")
    assert same(pretrained.read_tensors(tmp_path / f"w{suffix}"), STATE)


class Trap:
    """Unpickling it makes a folder, which shows that code ran."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("form", ["zip", "old", "bare"])
def test_a_file_cannot_run_code(tmp_path, name, form):
    content = {"a.weight": torch.ones(2), "trap": Trap(tmp_path / "ran")}
    if form == "bare":
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match="not a file of weights, or damaged"):
        pretrained.read_tensors(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    if form == "old" and name == "w.pth":  # without the guard, the code does run
        torch.load(tmp_path / name, weights_only=False)
        assert (tmp_path / "ran").exists()


def whole(form: str) -> bytes:
    """A good file's bytes."""
    if form == "safetensors":
        return safetensors.torch.save(STATE)
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=form != "old")
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "form"), [("w.safetensors", "safetensors"), ("w.pth", "new"), ("w.pth", "old")])
def test_a_damaged_file_is_one_clear_line(tmp_path, name, form):
    """Empty, zeros, noise, text, a web page, another kind of file, and a good file cut short at many places."""
    content, noise = whole(form), np.random.default_rng(0).bytes(5000)
    others = [b"", b"\0" * 4096, noise, b"hello\n", b"<!DOCTYPE html><html>\n", b"\x89PNG\r\n\x1a\n", b"\xff\xfe"]
    starts = [bytes([i]) + noise[:50] for i in range(0, 256, 5)]
    for wrong in (*others, *starts, *(content[: len(content) * i // 25] for i in range(1, 25)), content[:-1]):
        (tmp_path / name).write_bytes(wrong)
        with pytest.raises(UserError) as error:
            pretrained.read_tensors(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: ") and len(str(error.value).splitlines()) == 1
        assert not str(error.value).rstrip().endswith(":")


@pytest.mark.parametrize("content", [[torch.ones(2)], {}, {"a": torch.ones(1), "b": "x"}, {0: torch.ones(2)}, 3])
def test_a_file_without_a_table_of_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: holds no table of tensors by name"):
        pretrained.read_tensors(tmp_path / "w.pth")


def test_a_file_that_unpacks_to_too_many_bytes_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**20))
    monkeypatch.setattr(pretrained, "MAX_BYTES", 2**19)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match="at most 0 are read"):
        pretrained.read_tensors(path)


# ------------------------------------------------------------------------------------------- into the network


def test_all_is_loaded_except_the_last_layer_and_the_first_is_summed_over_its_channels(weights):
    net, state = body(), pretrained.read_tensors(weights)
    initial = {key: value.clone() for key, value in net.state_dict().items()}
    pretrained.load_weights(net, weights)
    for key, value in net.state_dict().items():
        expected = state[key].sum(1, keepdim=True) if key == "conv1.0.weight" else state[key]
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, initial[key] if key.startswith("fc.") else expected, msg=key)


def test_weights_of_one_channel_are_loaded_unchanged_and_counters_may_be_missing(tmp_path):
    state = published(in_chans=1, num_classes=7).state_dict()
    torch.save({key: value for key, value in state.items() if not key.endswith("tracked")}, tmp_path / "w.pth")
    net = body()
    pretrained.load_weights(net, tmp_path / "w.pth")
    assert torch.equal(net.conv1[0].weight, state["conv1.0.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {f"other.{k}": v for k, v in s.items()}, ["tensors missing", "no conv1.0.weight"]),
        (lambda s: {k: v for k, v in s.items() if k != "layer1.0.conv1.weight"}, ["1 of", "no layer1.0.conv1.weight"]),
        (lambda s: s | {"layer1.0.conv1.weight": torch.ones(1)}, ["1 of another shape", "is [1], not ["]),
        (lambda s: s | {"conv1.0.weight": torch.ones(3)}, ["1 of another shape", "conv1.0.weight is [3]"]),
    ],
)
def test_another_networks_weights_are_refused_and_leave_the_network_unchanged(tmp_path, weights, change, words):
    torch.save(change(pretrained.read_tensors(weights)), tmp_path / "w.pth")
    net = body()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError, match=rf"w\.pth: weights of another network than {TINY}") as error:
        pretrained.load_weights(net, tmp_path / "w.pth")
    assert all(word in str(error.value) for word in words), error.value
    assert same(net.state_dict(), before)


@pytest.mark.parametrize("shape", [(1, 3), (7,), (1, 6, 64), (1, 1, 64), (1, 10, 128)])
def test_position_embeddings_of_another_kind_are_another_networks(tmp_path, shape):
    """Of another width, another number of axes, or of images that are no squares."""
    net = models.body_of(models.create("timm:test_vit", image_size=64))
    torch.save(net.state_dict() | {"pos_embed": torch.ones(shape)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="another network than test_vit"):
        pretrained.load_weights(net, tmp_path / "w.pth")


# --------------------------------------------------------------------------------------------- finding a file


def put(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return [folder / name for name in names]


@pytest.mark.parametrize(
    ("name", "architecture", "found"),
    [
        ("resnet18-f37072fd.pth", "resnet18", True),
        ("deep/er/ResNet18.a1_in1k.bin", "resnet18", True),
        ("my_resnet18.pt", "resnet18", True),
        ("timm-resnet18/pytorch/default/1/model.safetensors", "resnet18", True),
        ("apple-mobilevit-xxs/model.bin", "mobilevit_xxs", True),
        ("resnet18d.pth", "resnet18", False),
        ("xresnet18.pth", "resnet18", False),
        ("resnet180/model.pth", "resnet18", False),
        ("model.safetensors", "resnet18", False),
        ("resnet18.csv", "resnet18", False),
    ],
)
def test_a_file_is_found_by_the_networks_name_in_its_own_name_or_a_folders(tmp_path, name, architecture, found):
    files = put(tmp_path, name)
    assert pretrained.files_for(architecture, tmp_path) == (files if found else [])


def test_a_name_in_the_files_own_name_goes_before_one_in_a_folders(tmp_path):
    by_folder, by_file = put(tmp_path, "a-resnet18/model.pth", "z/resnet18.pth")
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path) == (by_file, "first of 2 files with its name")
    by_file.unlink()
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path) == (by_folder, "by its name")
    assert pretrained.files_for("resnet18", by_folder.parent) == []  # the searched folder's own name does not count


@pytest.mark.parametrize("beside", ["run.json", "members/resnet18/history.csv"])
def test_weights_that_a_run_of_the_kit_wrote_are_not_pretrained(tmp_path, beside, monkeypatch):
    monkeypatch.setattr(pretrained, "download", lambda *_: tmp_path / "hub")
    put(tmp_path, "run/members/resnet18/model.safetensors", f"run/{beside}")
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path)[1] == "from the hub"


def test_a_named_file_and_in_a_named_folder_the_networks_file_or_the_only_one_are_taken(tmp_path):
    other, mine, only = put(tmp_path, "two/other.pth", "two/resnet18.pth", "one/model.pth")
    for wish, file in ((other, other), (other.parent, mine), (only.parent, only)):
        assert pretrained.find_weights(str(wish), PUBLISHED, Path("nowhere")) == (file, "as given")


@pytest.mark.parametrize(
    ("files", "wish", "words"),
    [
        ((), "nowhere.pth", "no weight file there"),
        (("w/notes.txt",), "w", "no weight file there"),
        (("w/a.pth", "w/b.pth"), "w", "2 weight files, none named resnet18 there"),
    ],
)
def test_a_named_file_that_does_not_exist_is_a_user_error(tmp_path, files, wish, words):
    put(tmp_path, *files)
    with pytest.raises(UserError, match=rf"pretrained=.*{wish}: {words}; name a file \(\.safetensors"):
        pretrained.find_weights(str(tmp_path / wish), PUBLISHED, tmp_path)


# ---------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list:
    """What a hub that holds `tmp_path / "model"`, and whose cache is empty, was asked for."""
    asked = []

    def client(repository, name, local_files_only=False, **_):
        asked.append((repository, name, local_files_only))
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(tmp_path / "model")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", client)
    monkeypatch.setattr(urllib.request, "urlopen", lambda request, **_: asked.append(request.full_url) or io.BytesIO())
    return asked


def test_without_a_file_the_hubs_cache_is_asked_and_then_the_hub(tmp_path, asked):
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path / "empty") == (tmp_path / "model", "from the hub")
    what = ("timm/resnet18.a1", "model.safetensors")
    assert asked == [(*what, True), constants.ENDPOINT, (*what, False)]


def test_a_file_with_the_name_and_a_file_in_the_cache_need_no_server(tmp_path, asked, monkeypatch):
    put(tmp_path, "resnet18.pth")
    pretrained.find_weights("auto", PUBLISHED, tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, local_files_only: str(tmp_path / "cached"))
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path / "empty")[0] == tmp_path / "cached"
    assert asked == []


@pytest.mark.parametrize("failure", [TimeoutError("timed out"), RuntimeError("two\nlines"), ImportError("no client")])
def test_a_hub_that_cannot_be_used_is_one_line_and_no_error(tmp_path, monkeypatch, failure):
    def fail(*_):
        raise failure

    monkeypatch.setattr(pretrained, "download", fail)
    file, line = pretrained.find_weights("auto", PUBLISHED, tmp_path)
    assert file is None and len(line.splitlines()) == 1
    assert "the hub cannot be used" in line and type(failure).__name__ in line and str(tmp_path) in line


@pytest.mark.parametrize("repository", ["timm/resnet18.a1", None])
def test_a_server_that_does_not_answer_is_noticed_before_any_download(tmp_path, asked, monkeypatch, repository):
    """For timm's networks and for torchvision's."""
    waited = []

    def silent(request, timeout):
        waited.append((request.get_method(), timeout))
        raise TimeoutError("timed out")

    monkeypatch.setattr(urllib.request, "urlopen", silent)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file, line = pretrained.find_weights("auto", PUBLISHED | {"hf_hub_id": repository}, tmp_path)
    assert file is None and "TimeoutError: timed out" in line
    assert waited == [("HEAD", pretrained.HUB_TIMEOUT)]


def test_a_server_that_refuses_the_question_has_answered(tmp_path, asked, monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 403, "no", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path / "empty")[0] == tmp_path / "model"


def test_torchvisions_weights_are_downloaded_once_and_checked_by_their_digest(tmp_path, asked, monkeypatch):
    seen = []

    def fetch(url, path, hash_prefix, progress):
        seen.append((url.rpartition("/")[2], hash_prefix))
        Path(path).write_bytes(b"")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    found = [pretrained.find_weights("auto", {"architecture": "resnet18"}, tmp_path / "empty")[0] for _ in range(2)]
    assert found == [tmp_path / "checkpoints" / "resnet18-f37072fd.pth"] * 2
    assert seen == [("resnet18-f37072fd.pth", "f37072fd")]
