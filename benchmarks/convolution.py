"""What a convolution costs on a CPU, the library's way and the others that `src/train/convolution.py` knows.

    python benchmarks/convolution.py --threads 1 --json convolution.json

Batch 64, float32, GFLOPS of direct multiplications in the time taken (the best of a few), in the process's own time
with one thread; then the steps of whole networks, with the library's convolutions and with the kit's.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src import host, recipes
from src.data import sample
from src.data.batches import on_device
from src.train import convolution, taps, trainer
from src.train.convolution import joined, nnpack, spread
from src.train.precision import Precision

CPU = torch.device("cpu")
LAYERS = {  # inputs, outputs, side, kernel
    "3x3, 32→32, 48": (32, 32, 48, 3),
    "3x3, 64→64, 24": (64, 64, 24, 3),
    "5x5, 32→64, 24": (32, 64, 24, 5),
    "3x3, 128→128, 12": (128, 128, 12, 3),
    "3x3, 128→128, 6": (128, 128, 6, 3),
    "3x3, 256→256, 3": (256, 256, 3, 3),
    "3x3, 512→512, 2": (512, 512, 2, 3),
    "5x5, 1→32, 48": (1, 32, 48, 5),
}
RECIPES = ("simple_cnn_v2", "attention_cnn_v1", "resnet18_adam", "baseline")


def best(action: Callable[[], object], clock: Callable[[], float], times: int = 5) -> float:
    """The least seconds of an action, after a first one that does not count."""
    action()
    found = []
    for _ in range(times):
        started = clock()
        action()
        found.append(clock() - started)
    return min(found)


def layer(inputs: int, outputs: int, side: int, kernel: int, clock: Callable[[], float]) -> dict[str, float]:
    """GFLOPS of each way, forward and for the gradient of the weights."""
    x, weight = torch.randn(64, inputs, side, side), torch.randn(outputs, inputs, kernel, kernel)
    grad, pad = torch.randn(64, outputs, side, side), kernel // 2
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, grad, weight)]
    work = 2 * grad.numel() * inputs * kernel**2 / 1e9
    ways = {
        "torch forward": lambda: F.conv2d(last[0], last[2], padding=pad),
        "NNPACK forward": lambda: joined(spread(lambda part: nnpack(part, weight, None, pad), x)),
        "taps forward": lambda: taps.forward(last[0], last[2], None, 1, pad),
        "torch weights": lambda: convolution.library(*last, 1, pad, [False, True, False]),
        "NNPACK by blocks": lambda: sum(spread(lambda *part: convolution.by_blocks(*part, pad), x, grad)),
        "one product": lambda: convolution.by_product(last[0], last[1], kernel, 1, pad),
        "taps weights": lambda: taps.weight_gradient(*last, 1, pad),
    }
    return {name: round(work / best(way, clock), 1) for name, way in ways.items()}


def step(recipe: str, way: Callable, clock: Callable[[], float]) -> float:
    """Milliseconds of a step of 64."""
    trainer.accelerate, before = way, trainer.accelerate
    try:
        member, rows = recipes.get(recipe).members[0], on_device(*sample.faces(64, seed=0), CPU)
        one = trainer.Trainer(member, rows, rows, Precision("float32", "", CPU), 0)
    finally:
        trainer.accelerate = before
    one.net.train()
    x = torch.randn(64, 1, 48, 48)
    return round(1000 * best(lambda: one.step(x, rows.labels), clock), 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    host.prepare()  # too late for torch's threads, not for memory
    for number in (1, arguments.threads):  # the first is NNPACK's own, as in accelerate
        torch.set_num_threads(number)
    torch.backends.nnpack.is_available()  # makes it ready
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    found = {"threads": arguments.threads, "torch": torch.__version__, "layers": {}, "steps": {}}
    for name, shape in LAYERS.items():
        found["layers"][name] = layer(*shape, clock)
        print(f"{name:18}", "  ".join(f"{way} {value:.0f}" for way, value in found["layers"][name].items()))
    for recipe in RECIPES:
        library, kit = (step(recipe, way, clock) for way in (lambda net: None, convolution.accelerate))
        found["steps"][recipe] = {"library": library, "kit": kit}
        print(f"{recipe:18} {library:.0f} ms with the library's convolutions, {kit:.0f} ms: {library / kit:.2f}x")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
