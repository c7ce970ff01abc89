"""Finding pretrained weights: by the network's name, by a path, in an earlier run, in the hub.

No test asks a hub: its client and its address are replaced.
"""

import io
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from src import models
from src.config import Member
from src.errors import UserError
from src.models import pretrained
from src.models.pretrained import FoundWeights

TINY = "test_resnet"
PUBLISHED = {"architecture": "resnet18", "hf_hub_id": "timm/resnet18.a1"}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """Whatever would ask a server is caught."""

    def caught(request, *_, **__):
        raise urllib.error.URLError(f"a test asked for {getattr(request, 'full_url', request)}")

    monkeypatch.setattr(urllib.request, "urlopen", caught)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    """A file of the tiny network's published weights."""
    file = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(timm.create_model(TINY).state_dict(), file)
    return file.read_bytes()


def find_weights(wish: str, net: nn.Module, member: str, folder: Path) -> FoundWeights:
    """What the setting `pretrained` finds for a member of that name."""
    return pretrained.find_weights(Member(member, "compact_cnn", pretrained=wish), net, folder)


def body() -> nn.Module:
    return models.body_of(models.create(f"timm:{TINY}", image_size=48))


def fill(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Writes the files."""
    put(folder, *files)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


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


def test_a_name_in_the_files_own_name_goes_before_one_in_a_folders(tmp_path, weights):
    by_folder, by_file = fill(tmp_path, {f"a-{TINY}/model.pth": weights, f"z/{TINY}.pth": weights})
    found = find_weights("auto", body(), "m", tmp_path)
    assert (found.file, found.origin) == (by_file, "first of 2 files with its name")
    by_file.unlink()
    found = find_weights("auto", body(), "m", tmp_path)
    assert (found.file, found.origin, found.notes) == (by_folder, "by its name", [])
    assert pretrained.files_for(TINY, by_folder.parent) == []  # the searched folder's own name does not count


OTHERS = {
    "a damaged file": (b"\0" * 100, "damaged"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "an optimizer": ({"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, "of an optimizer"),
    "an architecture whose name contains this one's": (
        {"conv1.weight": torch.ones(2)},
        "another network than test_resnet",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_auto_passes_over_a_file_that_does_not_fit_with_the_reason_and_a_named_file_is_strict(tmp_path, weights, kind):
    content, words = OTHERS[kind]
    first, good = fill(tmp_path, {f"{TINY}_a.pth": b"", f"{TINY}_b.pth": weights})
    first.write_bytes(content) if isinstance(content, bytes) else torch.save(content, first)
    found = find_weights("auto", body(), "m", tmp_path)
    assert found.file == good and len(found.notes) == 1
    assert found.notes[0].startswith(f"passed over: {first}: ") and words in found.notes[0]
    with pytest.raises(UserError, match=words):
        find_weights(str(first), body(), "m", tmp_path)


def test_where_no_file_and_not_the_hubs_fits_it_is_none_with_all_reasons(tmp_path, monkeypatch):
    file, hub = fill(tmp_path, {f"{TINY}.pth": b"<html>", "hub.bin": b"Entry not found"})
    monkeypatch.setattr(pretrained, "download", lambda *_: hub)
    found = find_weights("auto", body(), "m", tmp_path)
    assert found.file is None and "fits, and the hub's does not fit" in found.origin
    assert [str(path) in note for path, note in zip((file, hub), found.notes, strict=True)] == [True, True]


@pytest.mark.parametrize("beside", ["run.json", f"members/{TINY}/history.csv"])
def test_weights_that_a_run_of_the_kit_wrote_are_not_pretrained(tmp_path, beside):
    put(tmp_path, f"run/members/{TINY}/model.safetensors", f"run/{beside}")
    assert pretrained.files_for(TINY, tmp_path) == []


def test_a_named_file_and_in_a_named_folder_the_networks_file_or_the_only_one_are_taken(tmp_path, weights):
    names = ("two/other.ckpt", f"two/{TINY}.pth", "one/model.pth.tar", "z#1/w.pth")
    other, mine, only, sign = fill(tmp_path, dict.fromkeys(names, weights))
    cases = ((other, other), (other.parent, mine), (only.parent, only), (sign, sign))
    for wish, file in cases:
        found = find_weights(str(wish), body(), "m", Path("nowhere"))
        assert (found.file, found.origin) == (file, "as given")
    assert find_weights("two/other.ckpt", body(), "m", tmp_path).file == other  # below the input folder
    with pytest.raises(UserError, match="no such weights there; there are the top level"):
        find_weights(f"{other}#ema", body(), "m", tmp_path)


@pytest.mark.parametrize(
    ("files", "wish", "words"),
    [
        ((), "nowhere.pth", r"no such file or folder; name a weights file \(\.safetensors"),
        (("w/notes.txt",), "w", "no weight file there"),
        (("w/a.pth", "w/b.pth"), "w", r"2 weight files, none named test_resnet there; name a file \(\.safetensors"),
        (("w/run.json", "w/members/m/checkpoint.pt"), "w", "no weight file there of a finished member"),
        (
            ("w/model-00001-of-00002.bin", "w/model-00002-of-00002.bin", "w/model.bin.index.json"),
            "w",
            r"model-00001-of-00002\.bin is part 1 of weights in 2 files; save them as one file",
        ),
        (("w/test_resnet.pth",), "w", r"w/test_resnet\.pth: an empty file"),
    ],
)
def test_a_name_that_leads_to_no_weights_is_a_user_error(tmp_path, files, wish, words):
    put(tmp_path, *files)
    with pytest.raises(UserError, match=rf"pretrained=.*{wish}: .*{words}"):
        find_weights(str(tmp_path / wish), body(), "m", tmp_path)


def test_a_folder_of_weights_of_the_kits_own_networks_is_searched_by_the_networks_name(tmp_path):
    net = models.create("compact_cnn")
    torch.save(net.state_dict(), tmp_path / "compact-cnn_best.pt")
    (tmp_path / "another.pt").write_bytes(b"")
    assert find_weights(str(tmp_path), net, "m", tmp_path).file == tmp_path / "compact-cnn_best.pt"


@pytest.mark.parametrize("below", ["", "members", "members/b", ".."])
def test_a_runs_folder_gives_the_member_of_the_same_name_or_one_that_fits(tmp_path, weights, below):
    names = ("run.json", "members/a/history.csv", "members/b/history.csv", "members/c/checkpoint.pt")
    put(tmp_path / "all" / "run", *names)
    a, b = fill(tmp_path / "all" / "run" / "members", {f"{m}/model.safetensors": weights for m in "ab"})
    wish = str(tmp_path / "all" / "run" / below)
    found = find_weights(wish, body(), "b", tmp_path)
    assert (found.file.resolve(), found.origin) == (b, "member b of an earlier run")
    if below != "members/b":
        assert find_weights(wish, body(), "other", tmp_path).file.resolve() == a
        b.write_bytes(b"")
        found = find_weights(wish, body(), "b", tmp_path)
        assert found.file.resolve() == a and "an empty file" in found.notes[0]


# ---------------------------------------------------------------------------------------------------- the hub


def search(folder: Path, published: dict = PUBLISHED) -> tuple[Path | None, str]:
    """The file that is found for a network that is published so, and where it comes from."""
    found = find_weights("auto", SimpleNamespace(pretrained_cfg=published), "m", folder)
    return found.file, found.origin


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list:
    """What a hub that holds `tmp_path / "model"`, and whose cache is empty, was asked for. Every file fits."""
    monkeypatch.setattr(pretrained, "load_weights", lambda *_: [])
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
    assert search(tmp_path / "empty") == (tmp_path / "model", "from the hub")
    what = ("timm/resnet18.a1", "model.safetensors")
    assert asked == [(*what, True), constants.ENDPOINT, (*what, False)]


def test_a_file_with_the_name_and_a_file_in_the_cache_need_no_server(tmp_path, asked, monkeypatch):
    put(tmp_path, "resnet18.pth")
    search(tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, local_files_only: str(tmp_path / "cached"))
    assert search(tmp_path / "empty")[0] == tmp_path / "cached"
    assert asked == []


@pytest.mark.parametrize("failure", [TimeoutError("timed out"), RuntimeError("two\nlines"), ImportError("no client")])
def test_a_hub_that_cannot_be_used_is_one_line_and_no_error(tmp_path, monkeypatch, failure):
    def fail(*_):
        raise failure

    monkeypatch.setattr(pretrained, "download", fail)
    file, line = search(tmp_path)
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
    file, line = search(tmp_path, PUBLISHED | {"hf_hub_id": repository})
    assert file is None and "TimeoutError: timed out" in line
    assert waited == [("HEAD", pretrained.HUB_TIMEOUT)]


def test_a_server_that_refuses_the_question_has_answered(tmp_path, asked, monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 403, "no", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert search(tmp_path / "empty")[0] == tmp_path / "model"


def test_torchvisions_weights_are_downloaded_once_and_checked_by_their_digest(tmp_path, asked, monkeypatch):
    seen = []

    def fetch(url, path, hash_prefix, progress):
        seen.append((url.rpartition("/")[2], hash_prefix))
        Path(path).write_bytes(b"")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    found = [search(tmp_path / "empty", {"architecture": "resnet18"})[0] for _ in range(2)]
    assert found == [tmp_path / "checkpoints" / "resnet18-f37072fd.pth"] * 2
    assert seen == [("resnet18-f37072fd.pth", "f37072fd")]
