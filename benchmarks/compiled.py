"""Whether torch.compile pays: a step of training with it against one without, and how long it takes to begin.

    python benchmarks/compiled.py --recipes simple_cnn_v2 resnet18_adam --json compiled.json

Batch 64, float32, torch's own convolutions in both, and the kit's beside them on a CPU. Printed are milliseconds a step
(the best of a few), the seconds of the first compiled step, and the number of steps after which they are won back.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src import host, models, recipes
from src.config import Member
from src.train import device as devices
from src.train.convolution import accelerate

SIDE = 48  # of the images as they are stored
RECIPES = ("simple_cnn_v2", "attention_cnn_v1", "resnet18_adam")


def network(member: Member, device: torch.device) -> nn.Module:
    """A recipe's network as the kit trains it, but for its convolutions."""
    net = models.create(member.network, member.dropout, member.image_size, member.normalization)
    return net.to(device, memory_format=torch.channels_last)


def seconds(net: nn.Module, forward: Callable, side: int, device: torch.device, steps: int) -> tuple[float, float]:
    """Seconds of the first step, and the least of the others."""
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    x = torch.randn(64, 1, side, side, device=device).contiguous(memory_format=torch.channels_last)
    y, found = torch.randint(0, 7, (64,), device=device), []
    for _ in range(1 + steps):
        started = time.perf_counter()
        loss = F.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device
        found.append(time.perf_counter() - started)
    return found[0], min(found[1:])


def compare(name: str, device: torch.device, steps: int) -> dict:
    """The figures of one recipe's network."""
    member = recipes.get(name).members[0]
    plain, compiled, kit = (network(member, device) for _ in range(3))
    if device.type == "cpu":
        accelerate(kit)
    side = member.image_size or SIDE
    first, with_it = seconds(compiled, torch.compile(compiled), side, device, steps)
    without, kits = (seconds(net, net, side, device, steps)[1] for net in (plain, kit))
    found = {"plain_ms": 1e3 * without, "compiled_ms": 1e3 * with_it, "kit_ms": 1e3 * kits, "first_s": first}
    gain = min(without, kits) - with_it
    return found | {"steps": round(first / gain) if gain > 0 else None}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="R")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    host.prepare()  # too late for torch's threads, not for memory
    device = devices.choose(arguments.device)[0]
    found = {"device": devices.describe(str(device)), "torch": torch.__version__, "recipes": {}}
    print(f"milliseconds a step of 64 on {found['device']}")
    for name in arguments.recipes:
        figures = found["recipes"][name] = compare(name, device, arguments.steps)
        line = "plain {plain_ms:.1f}  kit {kit_ms:.1f}  compiled {compiled_ms:.1f}, begins in {first_s:.0f} s"
        print(f"{name:20} {line.format(**figures)}; pays after {figures['steps'] or 'no number of'} steps")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
