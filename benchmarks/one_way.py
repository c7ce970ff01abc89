"""One of the two ways to train in a process of its own, for `throughput.py`.

It says on what it trains; then it trains an epoch for each line that it reads, and prints its seconds.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.train.allocator import keep_freed_memory


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("way", choices=["kit", "reference"])
    parser.add_argument("recipe")
    parser.add_argument("rows", type=int)
    parser.add_argument("--input", type=Path)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    if arguments.way == "kit":  # the reference way takes the process as it is
        keep_freed_memory()
    import torch  # not before

    from benchmarks import ways
    from src.train.device import choose_device, describe_device

    device = choose_device(arguments.device)[0]
    epoch = ways.epoch(arguments.way, arguments.recipe, arguments.input, arguments.rows, device)
    print(json.dumps({"device": describe_device(str(device)), "torch": torch.__version__}), flush=True)
    for _ in sys.stdin:
        print(ways.timed(epoch), flush=True)


if __name__ == "__main__":
    main()
