"""The device is one that really computes; one that does not is named with its reason."""

import pytest
import torch

from src.errors import UserError
from src.train import device
from src.train.device import choose_device, describe_device, find_fault, is_out_of_memory

NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"


@pytest.fixture
def gpu(monkeypatch):
    """A machine that says it has two GPUs, whatever the one under the test has."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: f"Made-up GPU {name}")


def test_a_cpu_that_is_asked_for_is_taken():
    where, line = choose_device("cpu")
    assert where == torch.device("cpu") and line == f"cpu ({torch.get_num_threads()} threads) (asked for)"


def test_auto_without_a_gpu_is_the_cpu_and_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    where, line = choose_device()
    assert where == torch.device("cpu") and "no CUDA device" in line


def test_auto_takes_a_gpu_that_computes(monkeypatch, gpu):
    tried = []
    monkeypatch.setattr(device, "find_fault", lambda name: tried.append(name) or "")
    where, line = choose_device("auto")
    assert where == torch.device("cuda:0") and "Made-up GPU" in line and tried == ["cuda:0"]


def test_auto_takes_the_second_gpu_where_the_first_is_broken_and_says_so(monkeypatch, gpu):
    monkeypatch.setattr(device, "find_fault", lambda name: "CUDA out of memory" if name == "cuda:0" else "")
    where, line = choose_device("auto")
    assert where == torch.device("cuda:1") and line == "Made-up GPU cuda:1; cuda:0 does not compute: CUDA out of memory"


def test_auto_falls_back_from_a_gpu_that_dies_at_its_first_operation(monkeypatch, gpu):
    def die(self, name):
        raise RuntimeError(f"{NO_KERNEL}\nCompile with TORCH_USE_CUDA_DSA to enable device-side assertions.")

    monkeypatch.setattr(torch.nn.Conv2d, "to", die)
    where, line = choose_device("auto")
    assert where == torch.device("cpu") and NO_KERNEL in line
    assert "\n" not in line and "DSA" not in line


def test_a_gpu_that_dies_is_refused_where_it_was_asked_for(monkeypatch, gpu):
    monkeypatch.setattr(device, "find_fault", lambda name: NO_KERNEL)
    with pytest.raises(UserError, match=f"--device cuda:1: {NO_KERNEL}"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta", "cpu:x"])
def test_a_device_that_does_not_exist_or_compute_is_refused_by_name(name):
    with pytest.raises(UserError, match=f"^--device {name}: (?!Expected one of).+"):
        choose_device(name)


def test_a_failure_in_the_gradient_alone_is_found(monkeypatch):
    def die(*_):
        raise NotImplementedError("no backward here")

    monkeypatch.setattr(torch.Tensor, "backward", die)
    assert find_fault("cpu") == "no backward here"


def test_a_device_is_described_for_people(gpu):
    assert describe_device("cpu") == f"cpu ({torch.get_num_threads()} threads)"
    assert describe_device("cuda:1") == "Made-up GPU cuda:1"
    assert describe_device("mps") == "mps"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", True),
        ("cuDNN: CUDNN_STATUS_ALLOC_FAILED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("GET was unable to find an engine to execute this computation", True),
        ("CUDA error: out of memory", True),
        ("CUDNN_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_errors_of_full_memory_are_told_from_others(words, expected):
    assert is_out_of_memory(RuntimeError(words)) == expected
