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
    """timm's tiny network as its weights are published, of three channels and 1,000 classes, freshly drawn."""
    import timm

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


@pytest.mark.parametrize("wrap", [(), *((key,) for key in pretrained.WRAPPER_KEYS), ("model", "state_dict")])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_torchs_files_are_read_bare_and_as_training_scripts_wrap_them(tmp_path, suffix, wrap):
    content = STATE
    for key in reversed(wrap):
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / f"w{suffix}")
    if wrap == ("model", "state_dict"):
        with pytest.raises(UserError, match="holds no table of tensors"):  # in the order of their commonness alone
            pretrained.read_tensors(tmp_path / f"w{suffix}")
    else:
        assert same(pretrained.read_tensors(tmp_path / f"w{suffix}"), STATE)


@pytest.mark.parametrize("old", [True, False])
def test_both_forms_of_torchs_files_and_safetensors_hold_the_same(tmp_path, old):
    torch.save(STATE, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    save_file(STATE, tmp_path / "w.safetensors")
    assert same(pretrained.read_tensors(tmp_path / "w.pth"), pretrained.read_tensors(tmp_path / "w.safetensors"))


def test_names_from_a_training_on_several_devices_lose_their_prefix(tmp_path):
    torch.save({f"module.{key}": value for key, value in STATE.items()}, tmp_path / "w.pth")
    assert same(pretrained.read_tensors(tmp_path / "w.pth"), STATE)


class Trap:
    """Unpickling it makes a folder: that the code ran can be seen."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.safetensors"])
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
    if form == "old" and name == "w.pth":  # the trap is one: without the guard it springs
        torch.load(tmp_path / name, weights_only=False)
        assert (tmp_path / "ran").exists()


def whole(suffix: str) -> bytes:
    """A good file's bytes."""
    if suffix == ".safetensors":
        from safetensors.torch import save

        return save(STATE)
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=suffix != ".old")
    return buffer.getvalue()


def damaged(content: bytes) -> list[bytes]:
    """Nothing, zeros, garbage, texts, a page of a website, another kind of file; cut short at many places."""
    noise = np.random.default_rng(0).bytes(5000)
    others = [
        b"",
        b"\0",
        b"\0" * 4096,
        noise,
        b"hello\n",
        b"<!DOCTYPE html><html>\n",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xfe",
    ]
    starts = [bytes([i]) + noise[:50] for i in range(0, 256, 5)]
    return [*others, *starts, *(content[: len(content) * i // 25] for i in range(1, 25)), content[:-1]]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".old"])
def test_a_damaged_file_is_one_clear_line(tmp_path, suffix):
    file = tmp_path / ("w.pth" if suffix == ".old" else f"w{suffix}")
    for content in damaged(whole(suffix)):
        file.write_bytes(content)
        with pytest.raises(UserError) as error:
            pretrained.read_tensors(file)
        assert str(error.value).startswith(f"{file}: ") and len(str(error.value).splitlines()) == 1
        assert not str(error.value).rstrip().endswith(":")


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {}, {"a": 1}, {"a": torch.ones(1), "b": "x"}, 3])
def test_what_holds_no_table_of_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: holds no table of tensors by name"):
        pretrained.read_tensors(tmp_path / "w.pth")


def test_a_table_with_numbers_for_names_is_refused(tmp_path):
    torch.save({0: torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no table of tensors by name"):
        pretrained.read_tensors(tmp_path / "w.pth")


# ------------------------------------------------------------------------------------------- into the network


def test_all_is_taken_but_the_last_layer_and_the_first_is_summed_over_its_channels(weights):
    net, state = body(), pretrained.read_tensors(weights)
    fresh = {key: value.clone() for key, value in net.state_dict().items()}
    pretrained.load_weights(net, weights)
    for key, value in net.state_dict().items():
        expected = state[key].sum(1, keepdim=True) if key == "conv1.0.weight" else state[key]
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, fresh[key] if key.startswith("fc.") else expected, msg=key)


def test_weights_of_one_channel_are_taken_as_they_are(tmp_path):
    state = published(in_chans=1, num_classes=7).state_dict()
    torch.save(state, tmp_path / "w.pth")
    net = body()
    pretrained.load_weights(net, tmp_path / "w.pth")
    assert torch.equal(net.conv1[0].weight, state["conv1.0.weight"])


def test_files_from_before_batch_norms_counted_their_batches_are_taken(tmp_path, weights):
    state = {
        key: value for key, value in pretrained.read_tensors(weights).items() if not key.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "w.pth")
    net = body()
    pretrained.load_weights(net, tmp_path / "w.pth")
    assert torch.equal(net.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {f"other.{k}": v for k, v in s.items()}, ["tensors missing", "no conv1.0.weight"]),
        (lambda s: {k: v for k, v in s.items() if k != "layer1.0.conv1.weight"}, ["1 of", "no layer1.0.conv1.weight"]),
        (lambda s: s | {"layer1.0.conv1.weight": torch.ones(1)}, ["1 of another shape", "is [1], not ["]),
        (lambda s: s | {"conv1.0.weight": torch.ones(3)}, ["1 of another shape", "conv1.0.weight is [3]"]),
    ],
)
def test_another_networks_weights_are_refused_and_leave_the_network_as_it_is(tmp_path, weights, change, words):
    torch.save(change(pretrained.read_tensors(weights)), tmp_path / "w.pth")
    net = body()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError, match=rf"w\.pth: weights of another network than {TINY}") as error:
        pretrained.load_weights(net, tmp_path / "w.pth")
    assert all(word in str(error.value) for word in words), error.value
    assert same(net.state_dict(), before)


@pytest.mark.parametrize("shape", [(1, 3), (1, 7, 5), (7,), (1, 6, 64), (1, 12, 64), (1, 1, 64), (1, 10, 128)])
def test_positions_that_are_no_vits_are_another_networks(tmp_path, shape):
    """Of another width, another number of axes, or of images that are no squares."""
    net = models.body_of(models.create("timm:test_vit", image_size=64))
    assert net.pos_embed.shape == (1, 1 + 16, 64)
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
        ("resnet18.safetensors", "resnet18", True),
        ("resnet18-f37072fd.pth", "resnet18", True),
        ("deep/er/ResNet18.a1_in1k.bin", "resnet18", True),
        ("my_resnet18.pt", "resnet18", True),
        ("timm-resnet18/pytorch/default/1/model.safetensors", "resnet18", True),
        ("mobilevit-xxs.safetensors", "mobilevit_xxs", True),
        ("apple-mobilevit-xxs/model.bin", "mobilevit_xxs", True),
        ("resnet18d.pth", "resnet18", False),
        ("xresnet18.pth", "resnet18", False),
        ("resnet180/model.pth", "resnet18", False),
        ("resnet.pth", "resnet18", False),
        ("model.safetensors", "resnet18", False),
        ("resnet18.csv", "resnet18", False),
        ("resnet18/notes.txt", "resnet18", False),
    ],
)
def test_a_file_is_found_by_the_networks_name_in_its_own_name_or_a_folders(tmp_path, name, architecture, found):
    files = put(tmp_path, name)
    assert pretrained.files_for(architecture, tmp_path) == (files if found else [])


def test_the_name_of_the_searched_folder_itself_does_not_count(tmp_path):
    put(tmp_path, "resnet18/model.pth")
    assert pretrained.files_for("resnet18", tmp_path / "resnet18") == []


def test_a_name_in_the_files_own_name_goes_before_one_in_a_folders(tmp_path):
    by_folder, by_file = put(tmp_path, "a-resnet18/model.pth", "z/resnet18.pth")
    assert pretrained.files_for("resnet18", tmp_path) == [by_file, by_folder]
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path) == (by_file, "first of 2 files with its name")
    by_file.unlink()
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path) == (by_folder, "by its name")


@pytest.mark.parametrize("beside", ["run.json", "members/resnet18/history.csv"])
def test_what_a_run_of_the_kit_left_is_no_pretrained_weight(tmp_path, beside, monkeypatch):
    """An attached run: `members/resnet18/model.safetensors` bears the name, and was trained on these very faces."""
    monkeypatch.setattr(pretrained, "download", lambda *_: tmp_path / "hub")
    put(tmp_path, "run/members/resnet18/model.safetensors", f"run/{beside}")
    assert pretrained.files_for("resnet18", tmp_path) == []
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path)[1] == "from the hub"


def test_a_named_file_is_taken_whatever_it_is_called(tmp_path):
    (file,) = put(tmp_path, "weights.pth")
    assert pretrained.find_weights(str(file), PUBLISHED, Path("nowhere")) == (file, "as given")


def test_in_a_named_folder_the_networks_file_is_taken_or_the_only_one(tmp_path):
    other, mine = put(tmp_path, "two/other.pth", "two/resnet18.pth")
    (only,) = put(tmp_path, "one/model.pth")
    assert pretrained.find_weights(str(other.parent), PUBLISHED, tmp_path)[0] == mine
    assert pretrained.find_weights(str(only.parent), PUBLISHED, tmp_path)[0] == only


@pytest.mark.parametrize(
    ("files", "wish", "words"),
    [
        ((), "nowhere.pth", "no weight file there"),
        (("w/notes.txt",), "w", "no weight file there"),
        (("w/a.pth", "w/b.pth"), "w", "2 weight files, none named resnet18 there"),
    ],
)
def test_a_named_start_that_is_not_there_is_the_users_error_and_no_hub_is_asked(tmp_path, files, wish, words):
    put(tmp_path, *files)
    with pytest.raises(UserError, match=rf"pretrained=.*{wish}: {words}; name a file \(\.safetensors"):
        pretrained.find_weights(str(tmp_path / wish), PUBLISHED, tmp_path)


# ---------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that holds one file, in a cache that is empty, with what it was asked for."""
    asked, file = [], tmp_path / "model.safetensors"

    def client(repository, name, local_files_only=False, **_):
        asked.append((repository, name, local_files_only))
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", client)
    monkeypatch.setattr(pretrained, "require_answer", lambda url: asked.append(url))
    return asked, file


def test_without_a_file_the_hub_is_asked_its_cache_first(tmp_path, hub):
    asked, file = hub
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path / "empty") == (file, "from the hub")
    what = ("timm/resnet18.a1", "model.safetensors")
    assert asked == [(*what, True), constants.ENDPOINT, (*what, False)]


def test_what_is_in_the_cache_needs_no_server(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, local_files_only: str(tmp_path / "cached"))
    assert pretrained.find_weights("auto", PUBLISHED, tmp_path / "empty") == (tmp_path / "cached", "from the hub")


def test_where_a_file_bears_the_name_the_hub_is_not_asked(tmp_path, hub):
    put(tmp_path, "resnet18.pth")
    pretrained.find_weights("auto", PUBLISHED, tmp_path)
    assert hub[0] == []


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no route"),
        TimeoutError("timed out"),
        ConnectionResetError(),
        RuntimeError("two\nlines"),
        ImportError("no client"),
        OSError(28, "No space left on device"),
    ],
)
def test_a_hub_that_cannot_be_had_is_one_line_and_no_error(tmp_path, monkeypatch, failure):
    def fail(*_):
        raise failure

    monkeypatch.setattr(pretrained, "download", fail)
    file, line = pretrained.find_weights("auto", PUBLISHED, tmp_path)
    assert file is None and len(line.splitlines()) == 1
    assert "the hub cannot be used" in line and type(failure).__name__ in line and str(tmp_path) in line


@pytest.mark.parametrize("repository", ["timm/resnet18.a1", None])
def test_a_server_that_does_not_answer_is_noticed_before_any_download(tmp_path, monkeypatch, repository):
    """For timm's networks and for torchvision's; the connection is given ten seconds."""
    waited = []

    def silent(request, timeout):
        waited.append((request.get_method(), timeout))
        raise TimeoutError("timed out")

    def absent(*_, **__):
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(urllib.request, "urlopen", silent)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", absent)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file, line = pretrained.find_weights("auto", PUBLISHED | {"hf_hub_id": repository}, tmp_path)
    assert file is None and "TimeoutError: timed out" in line
    assert waited == [("HEAD", pretrained.HUB_TIMEOUT)]


def test_a_server_that_refuses_has_answered(monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 403, "no", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    pretrained.require_answer("https://example.org")


def test_torchvisions_weights_are_downloaded_once_and_checked_by_their_digest(tmp_path, monkeypatch):
    seen = []

    def fetch(url, path, hash_prefix, progress):
        seen.append((url.rpartition("/")[2], hash_prefix))
        Path(path).write_bytes(b"")

    monkeypatch.setattr(pretrained, "require_answer", lambda url: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    files = [pretrained.download("resnet18", None) for _ in range(2)]
    assert files == [tmp_path / "checkpoints" / "resnet18-f37072fd.pth"] * 2
    assert seen == [("resnet18-f37072fd.pth", "f37072fd")]


def test_weights_that_unpack_to_more_than_memory_are_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**20))
    assert path.stat().st_size < 2**12
    monkeypatch.setattr(pretrained, "MAX_BYTES", 2**19)
    monkeypatch.setattr(torch, "load", None)  # it is not asked
    with pytest.raises(UserError, match="at most 0 are read"):
        pretrained.read_tensors(path)
