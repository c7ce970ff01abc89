"""A member's initial weights: found and tried before any member trains, named in the log; and frozen bodies."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from src import models
from src.config import Member
from src.dataset import CLASS_NAMES, PIXEL_MEAN, PIXEL_STD
from src.errors import UserError
from src.main import main
from src.models import pretrained
from src.models.input_adapter import published_normalization
from src.run.members import save_weights
from src.train.fit import fit
from src.train.initial_weights import create_network, find_initial_weights, freeze_body
from src.train.trainer import Trainer
from tests.conftest import fake_bundle
from tests.support.networks import random_faces
from tests.support.training import make_job, make_member, weights

TINY = {"network": "timm:test_resnet", "image_size": 48, "batch_size": 16, "epochs": 2}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    def unreachable(*_):
        raise TimeoutError("timed out")

    monkeypatch.setattr(pretrained, "download", unreachable)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Stands for published weights: a random three-channel network of 1,000 classes, in a file of its name."""
    torch.manual_seed(5)
    file = tmp_path_factory.mktemp("attached") / "test-resnet.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return file


def member(**settings) -> Member:
    return make_member(**(TINY | settings))


def changed(net: nn.Module, before: dict) -> set[str]:
    """The names of the weights that differ."""
    return {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}


def test_by_default_the_weights_are_random_and_nothing_is_searched(file):
    found = find_initial_weights(member(), file.parent)
    assert found.file is None and found.description == "from scratch"
    assert found.num_bytes == sum(value.nbytes for value in create_network(member()).state_dict().values())


@pytest.mark.parametrize(
    ("setting", "ending"), [("auto", "by its name"), ("{file}", "as given"), ("{folder}", "as given")]
)
def test_pretrained_weights_are_described_by_file_and_digest(file, setting, ending):
    setting = setting.format(file=file, folder=file.parent)
    found = find_initial_weights(member(pretrained=setting), file.parent)
    assert found.file == file
    assert re.fullmatch(rf"pretrained: {re.escape(str(file))} \[[0-9a-f]{{16}}\], {ending}", found.description)


def test_a_table_that_is_chosen_in_a_named_file_is_the_one_that_a_training_starts_with(rows, tmp_path):
    raw = timm.create_model("test_resnet").state_dict()
    torch.save({"model": raw, "ema": {key: value + 1 for key, value in raw.items()}}, tmp_path / "w.pt")
    for choice, added in (("", 1), ("#model", 0)):
        settings = TINY | {"pretrained": f"{tmp_path / 'w.pt'}{choice}"}
        found = find_initial_weights(member(**settings), tmp_path)
        assert ("the averaged weights (ema) are taken" in " ".join(found.notes)) == (not choice)
        net = Trainer(make_job(rows, **settings, initial_weights=found.file)).net
        assert torch.equal(models.body_of(net).layer1[0].conv1.weight, raw["layer1.0.conv1.weight"] + added)


def test_without_a_file_and_a_hub_it_is_from_scratch_with_the_reason(tmp_path):
    found = find_initial_weights(member(pretrained="auto"), tmp_path)
    assert found.file is None and found.description.startswith("from scratch, not comparable with a pretrained start: ")
    assert "TimeoutError: timed out" in found.description


@pytest.mark.parametrize("image_size", [48, 64])
@pytest.mark.parametrize("normalization", ["dataset", "pretrained"])
def test_a_training_starts_with_the_files_weights_and_a_random_head(file, rows, image_size, normalization):
    settings = TINY | {"image_size": image_size, "normalization": normalization}
    net, fresh = (Trainer(make_job(rows, **settings, initial_weights=f)).net for f in (file, None))
    key = "layer2.0.conv1.weight"
    assert torch.equal(models.body_of(net).state_dict()[key], torch.load(file)[key])
    assert torch.equal(models.head_of(net).weight, models.head_of(fresh).weight)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"network": "compact_cnn", "pretrained": "auto"}, "m.pretrained: compact_cnn is the kit's own"),
        ({"network": "attention_cnn", "layer_decay": 0.8}, "m.layer_decay: attention_cnn is the kit's own"),
        ({"network": "simple_cnn_v1", "image_size": 64}, "m: simple_cnn_v1 does not take images of side 64"),
        (
            {"network": "simple_cnn_v1", "initial_image_size": 36, "resize_fraction": 0.5},
            "m: simple_cnn_v1 does not take images of side 36",
        ),
        (
            {"network": "vit", "initial_image_size": 36, "resize_fraction": 0.5},
            "m: vit does not take images of side 168",
        ),
        ({"network": "timm:test_vit", "image_size": 50}, "m: timm:test_vit does not take images of side 50"),
        ({"network": "timm:test_convnext", "image_size": 8}, "m: timm:test_convnext does not take images of side 8"),
        ({"network": "resnet81"}, "network=resnet81: no such network; did you mean resnet18"),
        (
            {"network": "timm:test_resnet", "pretrained": "nowhere.pth"},
            "pretrained=nowhere.pth: no such file or folder",
        ),
    ],
)
def test_what_cannot_be_is_the_users_error_before_anything_trains(tmp_path, settings, words):
    with pytest.raises(UserError, match=re.escape(words)):
        find_initial_weights(Member("m", **settings), tmp_path)


# --- a frozen body --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "resnet18", "deep_cnn_v1", "attention_cnn"])
def test_a_frozen_body_keeps_weights_and_statistics_while_the_head_learns(name):
    net = models.create(name, image_size=32 if "vit" in name else 48)
    before, optimizer = weights(net), torch.optim.SGD(net.parameters(), lr=0.1)
    nn.init.normal_(models.head_of(net).weight)
    freeze_body(net.train(), True)
    net(random_faces(4)).square().sum().backward()
    optimizer.step()
    head = {key for key, p in net.named_parameters() if any(p is q for q in models.head_of(net).parameters())}
    assert changed(net, before) == head and len(head) == 2


def test_the_dropout_of_a_frozen_network_stays_in_training_mode():
    net = models.create("deep_cnn_v2").train()
    freeze_body(net, True)
    assert all(layer.training for layer in net.modules() if isinstance(layer, (nn.Dropout, nn.Dropout2d)))
    assert not any(layer.training for layer in net.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)))


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"layer_decay": 0.5, "optimizer": "adamw"}], ids=str)
def test_after_its_frozen_epochs_everything_learns(rows, settings):
    trainer = Trainer(make_job(rows, **TINY | {"epochs": 4}, freeze_epochs=2, **settings))
    for number in (1, 2, 3):
        before = weights(trainer.net)
        trainer.epoch(number)
        assert changed(trainer.net, before) == ({"fc.weight", "fc.bias"} if number < 3 else set(before)), number


@pytest.mark.parametrize("network", ["timm:resnetv2_50", "timm:deit_tiny_distilled_patch16_224"])
def test_a_network_whose_head_is_a_convolution_or_double_can_be_frozen(network):
    with torch.device("meta"):
        net = models.create(network, image_size=64).train()
    freeze_body(net, True)
    learning = {key for key, p in net.named_parameters() if p.requires_grad}
    assert learning and all("head" in key for key in learning)
    freeze_body(net, False)
    assert all(p.requires_grad for p in net.parameters())


def test_layer_decay_frozen_epochs_and_a_file_go_together(file, rows):
    settings = {"freeze_epochs": 1, "layer_decay": 0.5, "optimizer": "adamw", "schedule": "one_cycle"}
    assert len(fit(make_job(rows, **TINY, **settings, initial_weights=file)).history) == 2


# --- in a run -------------------------------------------------------------------------------------------------------


def run(faces: Path, output: Path, *settings: str, recipe: str = "baseline") -> int:
    pairs = [f"{key}={value}" for key, value in TINY.items() if key != "epochs"]
    command = ["run", "--recipe", recipe, "--input", str(faces), "--output", str(output), "--device", "cpu"]
    return main([*command, "--rows", "100", "--set", "epochs=1", *pairs, *settings], fake_bundle())


@pytest.fixture
def attached(faces, file, tmp_path) -> Path:
    """An input folder with the competition's files and, in another data set's folder, weights."""
    folder = tmp_path / "input"
    (folder / "some-weights").mkdir(parents=True)
    for path in faces.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "some-weights" / file.name).symlink_to(file)
    return folder


def test_a_run_trains_from_the_weights_beside_its_data_and_says_so(attached, file, tmp_path, capsys):
    """At a learning rate near 0 they are still there at its end. A file that does not fit is passed over.

    Without the weights it is another run: the members that are left would be trained from scratch.
    """
    other = attached / "a-test_resnet.pth"
    other.write_bytes(b"<html>")
    assert run(attached, tmp_path / "out", "pretrained=auto", "lr=1e-9", "weight_decay=0") == 0
    log = (tmp_path / "out" / "log.txt").read_text()
    assert (
        f"passed over: {other}: a web page" in log and f"pretrained: {attached / 'some-weights' / file.name} [" in log
    )
    trained, key = load_file(tmp_path / "out" / "members" / "baseline" / "model.safetensors"), "layer1.0.conv1.weight"
    torch.testing.assert_close(trained[key], torch.load(file)[key], rtol=1e-4, atol=1e-6)
    (attached / "some-weights" / file.name).unlink()
    assert run(attached, tmp_path / "out", "pretrained=auto", "lr=1e-9", "weight_decay=0") == 2
    assert "with other initial weights" in capsys.readouterr().err


def test_a_named_file_that_is_damaged_stops_a_run_before_the_first_member_trains(attached, tmp_path, capsys):
    bad = attached / "some-weights" / "bad.bin"
    bad.write_bytes(b"not weights")
    assert run(attached, tmp_path / "out", f"simple_cnn_v2.pretrained={bad}", recipe="quick") == 2
    assert "bad.bin: a text file, not weights" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()


# --- from an earlier run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def earlier(faces, tmp_path_factory) -> dict[str, Path]:
    """Two finished runs: of timm's network with its own normalization, and of the kit's own network."""
    folder = tmp_path_factory.mktemp("earlier")
    settings = {"timm": ["normalization=pretrained"], "kit": ["network=compact_cnn", "image_size=none"]}
    for name, changes in settings.items():
        assert run(faces, folder / name, *changes) == 0
    return {name: folder / name for name in settings}


def test_the_weights_of_a_run_say_network_classes_and_normalization(earlier):
    with safe_open(earlier["timm"] / "members" / "baseline" / "model.safetensors", "pt") as file:
        said = file.metadata()
    assert said["network"] == "timm:test_resnet" and said["image_size"] == "48"
    assert json.loads(said["classes"]) == list(CLASS_NAMES)
    mean, std = published_normalization(timm.create_model("test_resnet"))
    assert json.loads(said["normalization"]) == {"mean": round(mean, 6), "std": round(std, 6)}
    assert said["preprocessing"] == "none"
    with safe_open(earlier["kit"] / "members" / "baseline" / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["normalization"]) == {"mean": PIXEL_MEAN, "std": PIXEL_STD}


@pytest.mark.parametrize("kind", ["timm", "kit"])
def test_a_run_starts_from_an_earlier_runs_member_with_its_last_layer(earlier, kind, faces, tmp_path):
    settings = ["network=compact_cnn", "image_size=none"] if kind == "kit" else []
    changes = [*settings, f"pretrained={earlier[kind]}", "lr=1e-9", "weight_decay=0", "normalization=dataset"]
    assert run(faces, tmp_path / "out", *changes) == 0
    before, after = (
        load_file(f / "members" / "baseline" / "model.safetensors") for f in (earlier[kind], tmp_path / "out")
    )
    names = [key.removeprefix("body.") for key in before if "running" not in key and "tracked" not in key]
    after = {key.removeprefix("body."): value for key, value in after.items()}
    before = {key.removeprefix("body."): value for key, value in before.items()}
    assert any(name.startswith(("fc", "head", "classifier")) or name.endswith("bias") for name in names)
    for name in names:
        torch.testing.assert_close(after[name], before[name], rtol=1e-3, atol=1e-5, msg=name)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "member baseline of an earlier run" in log and "rows that validate here" in log
    assert ("warning: trained with normalization" in log) == (kind == "timm")


def test_another_networks_run_and_a_run_without_weights_are_refused(earlier, tmp_path):
    with pytest.raises(
        UserError, match=r"pretrained=.*model\.safetensors: weights of another network than test_resnet"
    ):
        find_initial_weights(member(pretrained=str(earlier["kit"])), tmp_path)
    (tmp_path / "run.json").touch()
    with pytest.raises(UserError, match="no weight file there of a finished member"):
        find_initial_weights(member(pretrained=str(tmp_path)), tmp_path)


def test_a_run_does_not_start_from_weights_that_it_would_overwrite(earlier, faces, capsys):
    assert run(faces, earlier["kit"], f"pretrained={earlier['kit']}", "network=compact_cnn", "image_size=none") == 2
    assert "model.safetensors is in this run's own folder; give another --output" in capsys.readouterr().err


def test_equal_weights_give_equal_bytes(tmp_path):
    """The library writes metadata in a random order."""
    net, metadata = models.create("compact_cnn"), {key: key for key in "abcdefgh"}
    contents = set()
    for _ in range(5):
        save_weights(net, tmp_path / "w.safetensors", metadata)
        contents.add((tmp_path / "w.safetensors").read_bytes())
    assert len(contents) == 1
    loaded = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(loaded[key], value) for key, value in net.state_dict().items())
