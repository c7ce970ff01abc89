"""The device of a run: what was asked for, or the best that really computes."""

import torch

from src.errors import UserError

NO_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def choose(wish: str = "auto") -> tuple[torch.device, str]:
    """The device, and one line that says which and why.

    wish: "auto", or a device as torch names it ("cpu", "cuda", "cuda:1", "mps"). "auto" takes the first GPU on which
    one convolution with its gradient runs: where the installed torch has no kernels for a GPU, or its memory is taken,
    `is_available()` is still True and the first operation dies. Raises UserError where a device that was asked for does
    not work.
    """
    if wish != "auto":
        fault = try_out(wish)
        if fault:
            raise UserError(f"--device {wish}: {fault}")
        return torch.device(wish), f"{describe(wish)} (asked for)"
    if not torch.cuda.is_available():
        return torch.device("cpu"), f"{describe('cpu')} (no CUDA device)"
    faults = []
    for name in (f"cuda:{number}" for number in range(torch.cuda.device_count())):
        fault = try_out(name)
        if not fault:
            return torch.device(name), "; ".join([describe(name), *faults])
        faults.append(f"{name} does not compute: {fault}")
    return torch.device("cpu"), f"{describe('cpu')} ({'; '.join(faults)})"


def try_out(name: str) -> str:
    """Nothing if a convolution and its gradient run on the device, else the first line of what went wrong."""
    try:
        net = torch.nn.Conv2d(1, 2, 3).to(name)
        net(torch.zeros(2, 1, 8, 8, device=name)).sum().item()
        net(torch.zeros(2, 1, 8, 8, device=name)).sum().backward()
        net.weight.grad.sum().item()  # waits for it
    except Exception as error:  # torch raises RuntimeError, AssertionError, AcceleratorError, … here
        return str(error).strip().split("\n")[0] or type(error).__name__
    return ""


def describe(name: str) -> str:
    """The device for people and for run.json: "cpu (2 threads)", or the GPU's own name."""
    if torch.device(name).type == "cuda":
        return torch.cuda.get_device_name(name)
    return f"cpu ({torch.get_num_threads()} threads)" if name == "cpu" else name


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an operation failed for want of memory: on a GPU a class of its own, on the CPU a message."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)
