"""What part of the device's peak training reaches, and what the rest of a step goes into.

    python benchmarks/peak.py --json peak.json

The peak is measured in the same run: the fastest of several large matrix multiplications in the precision in which the
member trains. A network's own operations are counted by torch on one real step, forward and backward: convolutions and
matrix products alone, a multiplication and an addition being two; the first layer needs no gradient of its input. What
transforms save of them (`src/train/convolution.py`) counts as done. Steps are whole ones of `Trainer`, with
augmentation and optimizer, on noise; the fastest counts, as for the peak. On the CPU with one thread both are timed by
the time that the process computes, so that other work on the machine does not count. The shares are those of the
profiler over further steps: of the time of operations on the CPU, of kernels on a GPU.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.checkpoint import faces
from src import host, recipes
from src.config import Member
from src.data.batches import Rows, train_batches
from src.train import device as devices
from src.train import precision as precisions
from src.train.convolution import Convolution
from src.train.precision import DTYPES
from src.train.trainer import Trainer

RECIPES = ("simple_cnn_v2", "attention_cnn_v1", "resnet18_adam", "baseline", "resnet50_adam")
# An operation belongs to the first kind that has a word in its name, else to that of the operation which called it.
KINDS = {
    "augmentation": ("augmentation",),
    "optimizer": ("Optimizer.", "_fused_", "_foreach_"),
    "convolution backward": ("convolution_backward", "ConvolutionBackward"),
    "convolution forward": ("conv",),
    "matrix product": ("addmm", "::mm", "bmm", "matmul", "linear", "AddmmBackward", "MmBackward", "scaled_dot"),
    "batch norm": ("batch_norm", "BatchNorm", "layer_norm", "LayerNorm"),
    "pooling": ("pool", "Pool"),
    "elementwise": ("aten::", "Backward"),
}
OTHER = "other"
WARM_UP, PROFILED = 2, 3


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fastest(action: Callable[[], object], device: torch.device, times: int) -> float:
    """Seconds of the fastest of several calls, each to its end on the device."""
    found, clock = [], clock_for(device)
    for _ in range(times):
        wait(device)
        started = clock()
        action()
        wait(device)
        found.append(clock() - started)
    return min(found)


def clock_for(device: torch.device) -> Callable[[], float]:
    """The process's own seconds for one thread on the CPU, else the wall's: threads that wait count as computing."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP a second of a large matrix multiplication."""
    side = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    torch.mm(a, b)
    return 2 * side**3 / fastest(lambda: torch.mm(a, b), device, 10)


def batches(trainer: Trainer) -> Iterator[Rows]:
    """Augmented batches without an end."""
    member = trainer.member
    while True:
        order = trainer.new_half().order
        yield from train_batches(trainer.train, order, member.batch_size, member.augment, trainer.generator)


def take_step(trainer: Trainer, source: Iterator[Rows]) -> None:
    """One step of training, from the augmentation to the optimizer."""
    with record_function("augmentation"):
        x, y = next(source)
    trainer.step(x, y)


def counted(trainer: Trainer, batch: Rows) -> float:
    """FLOP of forward and backward, an image, as torch's own convolutions do it: those of others it cannot count."""
    others = [layer for layer in trainer.net.modules() if type(layer) is Convolution]
    for layer in others:
        layer.__class__ = nn.Conv2d
    with FlopCounterMode(display=False) as counter:
        trainer.gradient(*batch)
    for layer in others:
        layer.__class__ = Convolution
    return counter.get_total_flops() / len(batch.labels)


def kind(event) -> str:
    """What an operation is part of."""
    chain = []
    while event is not None:
        chain.append(event.name)
        event = event.cpu_parent
    if "augmentation" in chain:
        return "augmentation"
    if "ArithmeticBackward" in chain or "Arithmetic" in chain:  # of src/train/convolution.py
        return "convolution backward" if "ArithmeticBackward" in chain else "convolution forward"
    for name in chain:
        found = next((kind for kind, words in KINDS.items() if any(word in name for word in words)), None)
        if found not in (None, "elementwise"):
            return found
    return "elementwise" if any(word in chain[0] for word in KINDS["elementwise"]) else OTHER


def shares(step: Callable[[], None], device: torch.device) -> dict[str, float]:
    """Percent of the profiled time by kind."""
    gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as profiled:
        for _ in range(PROFILED):
            step()
        wait(device)
    spent = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in profiled.events():
        if event.device_type == DeviceType.CPU:  # a kernel's time stands with the operation that started it
            spent[kind(event)] += event.self_device_time_total if gpu else event.self_cpu_time_total
    whole = sum(spent.values()) or 1.0
    return {name: round(100 * value / whole, 1) for name, value in spent.items()}


def measure(member: Member, device: torch.device, steps: int) -> dict:
    """All figures of one network."""
    precision = precisions.choose(member.precision, device)
    rows = faces(8 * member.batch_size, device)
    trainer = Trainer(member, rows, rows, precision, seed=0)
    trainer.net.train()
    source = batches(trainer)
    flop = counted(trainer, next(source))
    for _ in range(WARM_UP):
        take_step(trainer, source)
    top = peak(DTYPES[precision.name], device)
    seconds = fastest(lambda: take_step(trainer, source), device, steps)
    top = max(top, peak(DTYPES[precision.name], device))  # other work on the machine may have ended meanwhile
    speed = member.batch_size / seconds
    return {
        "network": member.network,
        "precision": precision.name,
        "batch": member.batch_size,
        "MFLOP_an_image": round(flop / 1e6, 1),
        "images_per_second": round(speed, 1),
        "peak_GFLOPS": round(top / 1e9, 1),
        "percent_of_peak": round(100 * flop * speed / top, 1),
        "percent_of_the_step": shares(lambda: take_step(trainer, source), device),
    }


def show(recipe: str, figures: dict) -> None:
    """One network as two lines."""
    speed, cost, top = figures["images_per_second"], figures["MFLOP_an_image"], figures["peak_GFLOPS"]
    reached = f"{cost * speed / 1e3:,.1f} of {top:,.1f} GFLOP/s in {figures['precision']}"
    what = f"{speed:,.0f} images/s of {cost:,.0f} MFLOP"
    print(f"{recipe:18} {figures['percent_of_peak']:5.1f} % of the peak: {reached}; {what}")
    parts = sorted(figures["percent_of_the_step"].items(), key=lambda item: -item[1])
    print("   ", ", ".join(f"{name} {share:.1f} %" for name, share in parts if share), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="R")
    parser.add_argument("--steps", type=int, default=6, help="timed ones (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    host.prepare()  # too late for torch's threads, not for memory
    device, line = devices.choose(arguments.device)
    print(line)
    found = {"device": devices.describe(str(device)), "torch": torch.__version__, "recipes": {}}
    for recipe in arguments.recipes:
        figures = found["recipes"][recipe] = measure(recipes.get(recipe).members[0], device, arguments.steps)
        show(recipe, figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
