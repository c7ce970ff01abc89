"""Weights into a network: what is loaded, under which keys and prefixes, and what is refused."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from src import models
from src.errors import UserError
from src.models.state_dict import load_weights
from src.models.weight_files import read_weights

TINY = "test_resnet"


def published(**changes) -> nn.Module:
    """timm's tiny network as its weights are published: three channels and 1,000 classes."""
    return timm.create_model(TINY, **changes)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(5)
    file = tmp_path_factory.mktemp("weights") / f"{TINY}.safetensors"
    save_file(published().state_dict(), file)
    return file


@pytest.fixture(scope="module")
def raw() -> dict[str, Tensor]:
    return published(in_chans=1).state_dict()


@pytest.fixture(scope="module")
def averaged(raw) -> dict[str, Tensor]:
    return {key: value + 1 if value.is_floating_point() else value for key, value in raw.items()}


def body() -> nn.Module:
    return models.body_of(models.create(f"timm:{TINY}", image_size=48))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}


def loaded(path: Path, content: object, choice: str | None = None) -> tuple[Tensor, str]:
    """A tensor that a network has after it has loaded a file of that content, and the lines for the log."""
    torch.save(content, path)
    net = body()
    return net.layer1[0].bn1.weight, "\n".join(load_weights(net, path, choice))


KEY = "layer1.0.bn1.weight"


def test_all_is_loaded_except_the_last_layer_and_the_first_is_summed_over_its_channels(weights):
    net, state = body(), read_weights(weights).tables[""]
    initial = {key: value.clone() for key, value in net.state_dict().items()}
    load_weights(net, weights)
    for key, value in net.state_dict().items():
        expected = state[key].sum(1, keepdim=True) if key == "conv1.0.weight" else state[key]
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, initial[key] if key.startswith("fc.") else expected, msg=key)


def test_weights_of_one_channel_are_loaded_unchanged_and_counters_may_be_missing(tmp_path):
    state = published(in_chans=1, num_classes=7).state_dict()
    torch.save({key: value for key, value in state.items() if not key.endswith("tracked")}, tmp_path / "w.pth")
    net = body()
    load_weights(net, tmp_path / "w.pth")
    assert torch.equal(net.conv1[0].weight, state["conv1.0.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {f"{k}.other": v for k, v in s.items()}, ["tensors missing", "no conv1.0.weight"]),
        (lambda s: {f"net.{k}": v for k, v in s.items() if k != "bn1.weight"}, ["1 of", "no bn1.weight"]),
        (lambda s: {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}}, ["of an optimizer"]),
        (lambda s: s | {"bn1.weight": s["bn1.weight"].to(torch.int8)}, ["1 of another shape"]),
        (lambda s: {k: v for k, v in s.items() if k != "layer1.0.conv1.weight"}, ["1 of", "no layer1.0.conv1.weight"]),
        (lambda s: s | {"layer1.0.conv1.weight": torch.ones(1)}, ["1 of another shape", "is [1], not ["]),
        (lambda s: s | {"conv1.0.weight": torch.ones(3)}, ["1 of another shape", "conv1.0.weight is [3]"]),
    ],
)
def test_another_networks_weights_are_refused_and_leave_the_network_unchanged(tmp_path, weights, change, words):
    torch.save(change(read_weights(weights).tables[""]), tmp_path / "w.pth")
    net = body()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(
        UserError, match=r"w\.pth: (weights of another network than test_resnet|holds the state)"
    ) as error:
        load_weights(net, tmp_path / "w.pth")
    assert all(word in str(error.value) for word in words), error.value
    assert same(net.state_dict(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_of_a_training_that_diverged_are_refused_and_leave_the_network_unchanged(tmp_path, raw, value):
    torch.save(raw | {KEY: raw[KEY].double() * 0 + value}, tmp_path / "w.pth")
    net = body()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError, match=rf"w\.pth: {KEY} has values that are nan or infinite"):
        load_weights(net, tmp_path / "w.pth")
    assert same(net.state_dict(), before)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_a_deeper_network_are_told(tmp_path, raw, prefix):
    more = {"layer1.9.conv.weight": torch.ones(3), "layer1.9.conv.bias": torch.ones(1), "layer1.9.mask": torch.ones(2)}
    note = loaded(tmp_path / "w.pth", prefixed(prefix, raw | more))[1]
    assert note == f"w.pth: of a larger network? 2 of its tensors are not used, as {prefix}layer1.9.conv.weight"


@pytest.mark.parametrize("shape", [(1, 3), (7,), (1, 6, 64), (1, 1, 64), (1, 10, 128)])
def test_position_embeddings_of_another_kind_are_another_networks(tmp_path, shape):
    """Of another width, another number of axes, or of images that are no squares."""
    net = models.body_of(models.create("timm:test_vit", image_size=64))
    torch.save(net.state_dict() | {"pos_embed": torch.ones(shape)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="another network than test_vit"):
        load_weights(net, tmp_path / "w.pth")


# ------------------------------------------------------------------------------------------ keys and prefixes

PREFIXES = ["module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.", "module._orig_mod.", "any.thing.0."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_is_stripped_where_the_rest_fits(tmp_path, raw, prefix):
    content = prefixed(prefix, raw) | {"loss.weight": torch.ones(3), f"{prefix}projector.0.weight": torch.ones(3)}
    assert torch.equal(loaded(tmp_path / "w.pth", content)[0], raw[KEY])


@pytest.mark.parametrize("wrapper", ["_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_wrappers_in_the_middle_of_names_are_stripped(tmp_path, raw, wrapper):
    content = {key.replace("layer1.", f"layer1.{wrapper}."): value for key, value in raw.items()}
    assert torch.equal(loaded(tmp_path / "w.pth", content)[0], raw[KEY])


@pytest.mark.parametrize("key", ["state_dict", "net", "params", "ema", "weights", "student", "any key", 0])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_one_table_that_fits_is_taken_whatever_its_key(tmp_path, raw, key, prefix):
    other = {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, "epoch": 3, "acc": 0.6}
    content = other | {
        "deep": {key: prefixed(prefix, raw) | {"version": 2}},
        "discriminator": {"a.weight": torch.ones(2)},
    }
    weight, notes = loaded(tmp_path / "w.ckpt", content)
    assert torch.equal(weight, raw[KEY]) and notes == ""


BOTH = {
    "state_dict, state_dict_ema": lambda r, a: {"state_dict": r, "state_dict_ema": a},
    "model, ema.module": lambda r, a: {"model": prefixed("module.", r), "ema": {"module": prefixed("module.", a)}},
    "net, netEMA": lambda r, a: {"netEMA": a, "net": r},
    "model, ema_model": lambda r, a: prefixed("model.", r) | prefixed("ema_model.module.", a),
    "student, teacher": lambda r, a: prefixed("student.backbone.", r) | prefixed("teacher.backbone.", a),
    "top, swa": lambda r, a: r | {"swa_model": prefixed("module.", a) | {"n_averaged": torch.tensor(3)}},
    "model, shadow": lambda r, a: {"model": r, "shadow": {k: v for k, v in a.items() if "running" not in k}},
    "model, EMAModel": lambda r, a: {"EMAModel": {"averages": a}, "net": r},
    "average first": lambda r, a: {"averaged_weights": a, "weights": r},
}


@pytest.mark.parametrize("form", BOTH)
def test_of_raw_and_averaged_weights_the_averaged_are_taken_and_the_log_says_how_to_choose(
    tmp_path, raw, averaged, form
):
    content, path = BOTH[form](raw, averaged), tmp_path / "w.pth"
    weight, notes = loaded(path, content)
    assert torch.equal(weight, averaged[KEY]) and "the averaged weights (" in notes
    choice = notes.rpartition(f"pretrained={path}#")[2]
    weight, notes = loaded(path, content, choice)
    assert torch.equal(weight, raw[KEY]) and notes == ""


def test_of_several_others_the_first_is_taken_and_the_log_says_so(tmp_path, raw, averaged):
    weight, notes = loaded(tmp_path / "w.pth", {"last": raw, "best": averaged})
    assert torch.equal(weight, raw[KEY]) and "the first weights that fit (last) are taken; to take best" in notes


def test_a_table_of_the_chosen_label_goes_before_one_within_it(tmp_path, raw, averaged):
    content = {"model": raw | {"ema": averaged}}
    assert torch.equal(loaded(tmp_path / "w.pth", content, "model")[0], raw[KEY])
    assert torch.equal(loaded(tmp_path / "w.pth", content, "model.ema")[0], averaged[KEY])


def test_a_choice_that_is_not_there_names_what_is(tmp_path, raw):
    with pytest.raises(UserError, match=r"no such weights there; there are state_dict\.module"):
        loaded(tmp_path / "w.pth", {"state_dict": prefixed("module.", raw)}, "ema")


@pytest.mark.parametrize("name", ["compact_cnn", "simple_cnn_v1"])
def test_the_kits_own_networks_load_all_their_tensors(tmp_path, name):
    torch.manual_seed(1)
    trained, net = models.create(name), models.create(name)
    torch.save({"model": prefixed("module.", trained.state_dict())}, tmp_path / "w.pth")
    load_weights(net, tmp_path / "w.pth")
    assert same(net.state_dict(), trained.state_dict())
