"""The precision of each kind of device, and that autocast and scaler do what its name says."""

from pathlib import Path

import pytest
import torch

from src.errors import UserError
from src.train.precision import Precision, choose_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("capability", "name"),
    [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16"), ((7, 0), "fp16"), ((6, 1), "float32"), ((3, 7), "float32")],
)
def test_a_gpus_precision_follows_its_capability_and_the_reason_names_it(monkeypatch, capability, name):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    chosen = choose_precision("auto", CUDA)
    assert (chosen.name, chosen.device) == (name, CUDA) and f"{capability[0]}.{capability[1]}" in chosen.reason


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\nbugs\t\t: none\nflags\t\t: other\n", "bf16"),
        ("flags\t\t: avx512_bf16\n", "bf16"),
        ("Features\t: fp asimd bf16\n", "bf16"),
        ("flags\t\t: avx2 avx512f\nflags\t\t: avx512_bf16\n", "float32"),
        ("model name\t: bf16\n", "float32"),
    ],
)
def test_a_cpu_takes_bf16_only_where_its_flags_say_that_it_multiplies_in_it(monkeypatch, text, name):
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    chosen = choose_precision("auto", CPU)
    assert chosen.name == name and chosen.reason and chosen.device == CPU


def test_other_devices_train_in_float32():
    assert choose_precision("auto", torch.device("mps")).name == "float32"


@pytest.mark.parametrize(("wish", "device"), [("float32", CPU), ("bf16", CPU), ("fp16", CUDA), ("float32", CUDA)])
def test_what_is_asked_for_is_taken(wish, device):
    assert choose_precision(wish, device) == Precision(wish, "asked for", device)


def test_fp16_on_a_cpu_is_refused_with_the_way_out():
    with pytest.raises(UserError, match="precision=auto"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_named_type(name, dtype):
    net = torch.nn.Linear(8, 8)
    with Precision(name, "", CPU).autocast():
        result = net(torch.randn(4, 8))
    assert result.dtype == dtype and net.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["float32", "bf16"])
def test_without_fp16_the_scaler_passes_all_through(name):
    scaler, loss = Precision(name, "", CPU).scaler(), torch.tensor(0.125)
    assert not scaler.is_enabled() and scaler.scale(loss) is loss


def test_for_fp16_the_scaler_lifts_the_loss():
    scaler, loss = Precision("fp16", "", CPU).scaler(), torch.tensor(0.125)
    assert scaler.is_enabled() and scaler.scale(loss) > 100 * loss


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_a_machine_without_readable_flags_trains_in_float32(monkeypatch, error):
    def refuse(path):
        raise error(str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    assert choose_precision("auto", CPU).name == "float32"
