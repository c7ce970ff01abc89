"""What a member's training starts from: found and tried before any member trains, said in the log, never a crash."""

import copy
import json
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from src import config, models
from src.config import Member
from src.data import synthetic
from src.data.batches import LabelledImages, on_device
from src.errors import UserError
from src.main import main
from src.models import pretrained
from src.train.fit import Trainer, fit
from src.train.precision import Precision
from src.train.start import freeze_body, network, prepare
from tests.conftest import fake_bundle
from tests.support.networks import faces as random_faces

FLOAT32 = Precision("float32", "", torch.device("cpu"))
TINY = {"network": "timm:test_resnet", "image_size": 48, "batch_size": 16, "epochs": 2}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    def unreachable(*_):
        raise TimeoutError("timed out")

    monkeypatch.setattr(pretrained, "download", unreachable)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """The published weights' stand-in: a freshly drawn three-channel network of 1,000 classes, in its named file."""
    torch.manual_seed(5)
    file = tmp_path_factory.mktemp("attached") / "test-resnet.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return file


@pytest.fixture(scope="module")
def rows() -> LabelledImages:
    return on_device(*synthetic.make_faces(48, seed=11), torch.device("cpu"))


def member(**settings) -> Member:
    return Member("m", **(TINY | settings))


def state_of(net: nn.Module) -> dict:
    return copy.deepcopy(net.state_dict())


def changed(net: nn.Module, before: dict) -> set[str]:
    return {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}


# ----------------------------------------------------------------------------------------------- the start


def test_without_a_wish_the_start_is_from_scratch_and_nothing_is_searched(tmp_path, weights):
    start = prepare(member(), weights.parent)
    assert start.file is None and start.line == "from scratch"
    assert start.size == sum(value.nbytes for value in network(member()).state_dict().values())


@pytest.mark.parametrize("wish", ["auto", "file", "folder"])
def test_a_pretrained_start_names_its_file_and_the_files_digest(weights, wish):
    wishes = {"auto": "auto", "file": str(weights), "folder": str(weights.parent)}
    start = prepare(member(pretrained=wishes[wish]), weights.parent)
    assert start.file == weights
    ending = "by its name" if wish == "auto" else "as given"
    assert re.fullmatch(rf"pretrained: {re.escape(str(weights))} \[[0-9a-f]{{16}}\], {ending}", start.line)


def test_without_a_file_and_a_hub_it_is_from_scratch_with_the_reason(tmp_path):
    start = prepare(member(pretrained="auto"), tmp_path)
    assert start.file is None and start.line.startswith("from scratch, not comparable with a pretrained start: ")
    assert "TimeoutError: timed out" in start.line


def test_a_networks_weights_are_in_it_and_the_head_is_the_seeds(weights):
    torch.manual_seed(1)
    fresh = models.head_of(network(member())).weight
    torch.manual_seed(1)
    net = network(member(), weights)
    key = "layer1.0.conv1.weight"
    assert torch.equal(net.state_dict()[key], torch.load(weights)[key])
    assert torch.equal(models.head_of(net).weight, fresh)


@pytest.mark.parametrize("size", [48, 64])
@pytest.mark.parametrize("normalization", ["dataset", "pretrained"])
def test_a_training_starts_with_the_files_weights_behind_any_front(weights, rows, size, normalization):
    settings = member(pretrained=str(weights), image_size=size, normalization=normalization)
    trainer = Trainer(settings, rows, rows, FLOAT32, seed=1, start=weights)
    body, kept = models.body_of(trainer.net).state_dict(), torch.load(weights)
    assert torch.equal(body["layer2.0.conv1.weight"], kept["layer2.0.conv1.weight"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"network": "compact_cnn", "pretrained": "auto"}, "m.pretrained: compact_cnn is the kit's own"),
        ({"network": "attention_cnn", "layer_decay": 0.8}, "m.layer_decay: attention_cnn is the kit's own"),
        ({"network": "simple_cnn_v1", "image_size": 64}, "m: simple_cnn_v1 does not take images of side 64"),
        ({"network": "timm:test_vit", "image_size": 50}, "m: timm:test_vit does not take images of side 50"),
        ({"network": "timm:test_convnext", "image_size": 8}, "m: timm:test_convnext does not take images of side 8"),
        ({"network": "resnet81"}, "network=resnet81: no such network; did you mean resnet18"),
        ({"network": "timm:test_resnet", "pretrained": "nowhere.pth"}, "pretrained=nowhere.pth: no weight file there"),
    ],
)
def test_what_cannot_be_is_the_users_error_before_anything_trains(tmp_path, settings, words):
    with pytest.raises(UserError, match=re.escape(words)):
        prepare(Member("m", **settings), tmp_path)


@pytest.mark.parametrize("name", models.names())
def test_every_network_is_ready_for_a_start_or_says_that_it_is_the_kits_own(tmp_path, name):
    settings = Member("m", network=name, pretrained="auto", image_size=32 if name == "vit" else None)
    if models.family(name) in ("resnet", "vit", "mobilevit"):
        assert prepare(settings, tmp_path).file is None
    else:
        with pytest.raises(UserError, match="is the kit's own, without published weights"):
            prepare(settings, tmp_path)


# --------------------------------------------------------------------------------------------- a frozen body


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "resnet18", "deep_cnn_v1", "attention_cnn"])
def test_a_frozen_body_keeps_weights_and_statistics_while_the_head_learns(name):
    net = models.create(name, image_size=32 if "vit" in name else 48)
    before, optimizer = state_of(net), torch.optim.SGD(net.parameters(), lr=0.1)
    nn.init.normal_(models.head_of(net).weight)
    net.train()
    freeze_body(net, True)
    net(random_faces(4)).square().sum().backward()
    optimizer.step()
    head = {key for key, p in net.named_parameters() if any(p is q for q in models.head_of(net).parameters())}
    assert changed(net, before) == head and len(head) == 2


def test_the_dropout_of_a_frozen_network_is_still_in_training():
    net = models.create("deep_cnn_v2").train()
    freeze_body(net, True)
    assert all(layer.training for layer in net.modules() if isinstance(layer, (nn.Dropout, nn.Dropout2d)))
    assert not any(layer.training for layer in net.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)))


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"layer_decay": 0.5, "optimizer": "adamw"}])
def test_after_its_frozen_epochs_everything_learns(rows, settings):
    trainer = Trainer(member(freeze_epochs=2, epochs=4, **settings), rows, rows, FLOAT32, seed=1)
    for number in (1, 2, 3):
        before = state_of(trainer.net)
        trainer.epoch(number)
        found = changed(trainer.net, before)
        assert found == ({"fc.weight", "fc.bias"} if number < 3 else set(before)), number


@pytest.mark.parametrize("network", ["timm:resnetv2_50", "timm:deit_tiny_distilled_patch16_224"])
def test_a_network_whose_head_is_a_convolution_or_double_can_be_frozen(network):
    with torch.device("meta"):
        net = models.create(network, image_size=64).train()
    freeze_body(net, True)
    learning = {key for key, p in net.named_parameters() if p.requires_grad}
    assert learning and all("head" in key for key in learning)
    freeze_body(net, False)
    assert all(p.requires_grad for p in net.parameters())


def test_layer_decay_freeze_and_a_file_go_together_in_one_training(weights, rows):
    settings = member(freeze_epochs=1, layer_decay=0.5, optimizer="adamw", weight_decay=0.05, schedule="one_cycle")
    fitted = fit(settings, rows, rows, FLOAT32, seed=1, start=weights)
    assert len(fitted.history) == 2


# --------------------------------------------------------------------------------------------------- in a run


def run(faces: Path, output: Path, *settings: str, recipe: str = "baseline") -> int:
    pairs = [f"{key}={value}" for key, value in TINY.items() if key != "epochs"]
    command = ["run", "--recipe", recipe, "--input", str(faces), "--output", str(output), "--device", "cpu"]
    return main([*command, "--rows", "100", "--set", "epochs=1", *pairs, *settings], fake_bundle())


@pytest.fixture
def attached(faces, weights, tmp_path) -> Path:
    """An input folder with the competition's files and, in another data set's folder, weights."""
    folder = tmp_path / "input"
    folder.mkdir()
    for file in faces.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "some-weights").mkdir()
    (folder / "some-weights" / weights.name).symlink_to(weights)
    return folder


def test_a_run_that_finds_weights_beside_its_data_says_so(attached, tmp_path):
    assert run(attached, tmp_path / "out", "pretrained=auto") == 0
    line = json.loads((tmp_path / "out" / "run.json").read_text())["members"]["baseline"]["start"]
    assert line.startswith(f"pretrained: {attached / 'some-weights' / 'test-resnet.pth'} [")
    assert line in (tmp_path / "out" / "log.txt").read_text()


def test_a_run_trains_from_the_weights_that_it_names(attached, weights, tmp_path):
    """At a rate near nothing they are still there at its end."""
    assert run(attached, tmp_path / "out", "pretrained=auto", "lr=1e-9", "weight_decay=0") == 0
    kept, key = load_file(tmp_path / "out" / "members" / "baseline" / "model.safetensors"), "layer1.0.conv1.weight"
    torch.testing.assert_close(kept[key], torch.load(weights)[key], rtol=1e-4, atol=1e-6)


def test_a_run_without_weights_and_hub_says_that_it_starts_from_scratch(faces, tmp_path):
    assert run(faces, tmp_path / "out", "pretrained=auto") == 0
    line = json.loads((tmp_path / "out" / "run.json").read_text())["members"]["baseline"]["start"]
    assert line.startswith("from scratch, not comparable") and line in (tmp_path / "out" / "log.txt").read_text()


def test_a_damaged_file_of_the_last_member_stops_before_the_first_trains(attached, tmp_path, capsys):
    (attached / "some-weights" / "test-resnet.pth").unlink()
    (attached / "some-weights" / "test_resnet.bin").write_bytes(b"not weights")
    assert run(attached, tmp_path / "out", "simple_cnn_v2.pretrained=auto", recipe="quick") == 2
    assert "test_resnet.bin: not a file of weights, or damaged" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_run_does_not_start_from_what_a_run_left(attached, tmp_path):
    """Its own folder lies below the input, and its member bears the network's name."""
    (attached / "some-weights" / "test-resnet.pth").unlink()
    settings = Member("test_resnet", **TINY, pretrained="auto")
    left = attached / "earlier" / "members" / "test_resnet"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"")
    (attached / "earlier" / "run.json").write_text("{}")
    assert prepare(settings, attached).file is None
    (attached / "earlier" / "run.json").unlink()
    with pytest.raises(UserError, match="not a file of weights"):  # without the run's papers it is a file like others
        prepare(settings, attached)


def test_the_digest_tells_a_pretrained_start_from_another():
    assert config.config_hash(member()) != config.config_hash(member(pretrained="auto"))
