"""The device of a run: the requested one, or the first GPU that computes, or the CPU."""

import re

import torch

from src.errors import UserError

NAMES = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")
OUT_OF_MEMORY = (  # what the CPU, the driver, cuBLAS, cuDNN 8 and cuDNN 9 say
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "unable to find an engine",  # each of cuDNN's algorithms needs more memory than is left
)


def choose_device(requested: str = "auto") -> tuple[torch.device, str]:
    """The device, and one line with its name and the reason.

    requested: "auto", or a device as torch names it ("cpu", "cuda", "cuda:1", "mps"). "auto" takes the first GPU that
    computes: torch also counts GPUs for which it has no kernels, or whose memory is full. Raises UserError if a
    requested device does not work.
    """
    if requested != "auto":
        if not NAMES.fullmatch(requested):
            raise UserError(f"--device {requested}: no such device; give auto, cpu, cuda, cuda:1 or mps")
        if fault := find_fault(requested):
            raise UserError(f"--device {requested}: {fault}")
        return torch.device(requested), f"{describe_device(requested)} (asked for)"
    faults = []
    for name in (f"cuda:{number}" for number in range(torch.cuda.device_count())):
        fault = find_fault(name)
        if not fault:
            return torch.device(name), "; ".join([describe_device(name), *faults])
        faults.append(f"{name} does not compute: {fault}")
    return torch.device("cpu"), f"{describe_device('cpu')} ({'; '.join(faults) or 'no CUDA device'})"


def find_fault(name: str) -> str:
    """The first line of the error where a convolution or its gradient fails on the device; empty where both work."""
    try:
        net = torch.nn.Conv2d(1, 2, 3).to(name)
        net(torch.zeros(2, 1, 8, 8, device=name)).sum().item()
        net(torch.zeros(2, 1, 8, 8, device=name)).sum().backward()
        net.weight.grad.sum().item()  # waits for it
    except Exception as error:  # torch raises RuntimeError, AssertionError, AcceleratorError, … here
        return str(error).strip().split("\n")[0] or type(error).__name__
    return ""


def describe_device(name: str) -> str:
    """The device for people and for run.json: "cpu (2 threads)", or the GPU's own name."""
    if torch.device(name).type == "cuda":
        return torch.cuda.get_device_name(name)
    return f"cpu ({torch.get_num_threads()} threads)" if name == "cpu" else name


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the error means that memory is full. torch has a class for GPUs, and a message only for the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)
