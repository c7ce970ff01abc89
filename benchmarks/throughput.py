"""Images a second in training: the kit against the reference notebooks' way, in turns, in one run.

    python benchmarks/throughput.py --input DIR --json throughput.json

Same network, batch and augmentation, on the same rows of train.csv, each way in a process of its own (`one_way.py`),
which waits while the other trains. Both train one epoch to warm up, which does not count; then they take turns. Printed
are the medians, and the median of the rounds' ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

RECIPES = ("simple_cnn_v2", "attention_cnn_v1", "resnet18_adam")
ONE_WAY = Path(__file__).with_name("one_way.py")


class Way:
    """A way to train: a process that trains an epoch when it is asked to."""

    def __init__(self, way: str, recipe: str, rows: int, source: Path | None, device: str):
        command = [sys.executable, str(ONE_WAY), way, recipe, str(rows), "--device", device]
        command += ["--input", str(source)] if source else []
        self.rows = rows
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.environment = json.loads(self.process.stdout.readline() or sys.exit(f"{way}: the process has ended"))

    def speed(self) -> float:
        """Images a second of one more epoch."""
        print(file=self.process.stdin, flush=True)
        return self.rows / float(self.process.stdout.readline() or sys.exit("the process has ended"))

    def end(self) -> None:
        """Ends the process and its workers."""
        self.process.stdin.close()
        self.process.wait()


def compare(ways: dict[str, Way], rounds: int) -> dict:
    """Images a second of both ways, and their ratio."""
    for way in ways.values():
        way.speed()
    speeds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            speeds[name].append(way.speed())
    found = {name: round(statistics.median(values), 1) for name, values in speeds.items()}
    ratios = [a / b for a, b in zip(speeds["kit"], speeds["reference"], strict=True)]
    return found | {"ratio": round(statistics.median(ratios), 2), "ratios": [round(r, 2) for r in ratios]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, metavar="DIR", help="the competition's files; default: synthetic faces")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="R")
    parser.add_argument("--rows", type=int, default=3000, help="of the reference way's epoch (default: %(default)s)")
    parser.add_argument("--kit-rows", type=int, help="of the kit's epoch; default: the same")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    rows = {"reference": arguments.rows, "kit": arguments.kit_rows or arguments.rows}
    found = {"rows": rows, "recipes": {}}
    for name in arguments.recipes:
        ways = {way: Way(way, name, n, arguments.input, arguments.device) for way, n in rows.items()}
        if "device" not in found:
            found |= ways["kit"].environment
            print(f"images a second on {found['device']}, batch 64")
        figures = found["recipes"][name] = compare(ways, arguments.rounds)
        print(f"{name:20} reference {figures['reference']:9.1f}   kit {figures['kit']:9.1f}   {figures['ratio']:.2f}x")
        for way in ways.values():
            way.end()
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
