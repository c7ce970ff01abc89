"""How long it takes to read the competition's CSV files, and how much memory, against the usual way, in one run.

    python benchmarks/reading.py [--input DIR] [--json FILE] [--repeat N] [--rows N]

The usual way is Python's csv module, `str.split` and one `np.array` a row. Both ways read the same files, each in a
process of its own, one after the other, and their arrays are compared. Without --input the files are made up in a
temporary folder: random pixels, 28,709 and 7,178 rows. --rows bounds what the usual way reads of each file; its seconds
are then scaled to all rows, and the output says so. The file cache is warm for both.
"""

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.data.competition import find, read

ROWS = {"train.csv": 28_709, "test.csv": 7_178}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, help="a folder with train.csv and test.csv")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--repeat", type=int, default=3, help="runs of our way; the median counts (default 3)")
    parser.add_argument("--rows", type=int, help="the first N rows of each file for the usual way (default: all)")
    parser.add_argument("--one", choices=("ours", "usual"), help="measure one way in this process, and print JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.input, args.rows)))
    elif args.input:
        compare(args.input, args)
    else:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            compare(Path(folder), args)


def make(folder: Path) -> None:
    """Random files in the competition's format and size, a thousand rows at a time."""
    random = np.random.default_rng(0)
    for name, rows in ROWS.items():
        with (folder / name).open("w") as file:
            file.write("emotion,pixels\n" if name == "train.csv" else "pixels\n")
            for start in range(0, rows, 1000):
                for row in random.integers(0, 256, (min(1000, rows - start), 48 * 48)).tolist():
                    label = f"{row[0] % 7}," if name == "train.csv" else ""
                    file.write(f"{label}{' '.join(map(str, row))}\n")


def compare(folder: Path, args: argparse.Namespace) -> None:
    ours = sorted((in_process("ours", folder, args.rows) for _ in range(args.repeat)), key=lambda run: run["seconds"])
    median, usual = ours[len(ours) // 2], in_process("usual", folder, args.rows)
    figures = {
        "rows": median["rows"],
        "ours_seconds": [run["seconds"] for run in ours],
        "ours_peak_mib": max(run["peak_mib"] for run in ours),
        "usual_seconds": usual["seconds"] * median["rows"] / usual["rows"],
        "usual_rows": usual["rows"],
        "usual_peak_mib": usual["peak_mib"],
        "same_arrays": median["sums"] == usual["sums"],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    figures["ratio"] = figures["usual_seconds"] / median["seconds"]
    show(figures, median["seconds"])
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    if not figures["same_arrays"]:
        sys.exit("the two ways read different numbers")


def show(figures: dict, seconds: float) -> None:
    scaled = "" if figures["usual_rows"] == figures["rows"] else f", scaled up from {figures['usual_rows']:,} rows"
    print(f"{figures['rows']:,} rows on {figures['cores']} cores, numpy {figures['numpy']}")
    print(
        f"ours   {seconds:6.2f} s (median of {len(figures['ours_seconds'])}), peak {figures['ours_peak_mib']:.0f} MiB"
    )
    print(f"usual  {figures['usual_seconds']:6.2f} s{scaled}, peak {figures['usual_peak_mib']:.0f} MiB")
    print(f"ratio  {figures['ratio']:6.1f}, the same arrays: {figures['same_arrays']}")


def in_process(way: str, folder: Path, rows: int | None) -> dict:
    """One way in a fresh process, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--one", way, "--input", str(folder)]
    command += ["--rows", str(rows)] if rows else []
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(way: str, folder: Path, rows: int | None) -> dict:
    """Seconds, peak memory, and sums over the first `rows` rows of each file that tell whether the ways agree."""
    start = time.perf_counter()
    arrays = ours(folder) if way == "ours" else usual(folder, rows)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    read_rows = sum(len(images) for images in arrays[::2])
    return {"seconds": seconds, "peak_mib": peak, "rows": read_rows, "sums": [weighted(a[:rows]) for a in arrays]}


def ours(folder: Path) -> list[np.ndarray]:
    data = read(folder)
    return [data.train.images, data.train.labels, data.test.images]


def usual(folder: Path, rows: int | None) -> list[np.ndarray]:
    """What most notebooks do, a row at a time: train images, train labels, test images."""
    train, test = find(folder).pair
    with train.open(newline="") as file:
        pairs = [(split(row["pixels"]), int(row["emotion"])) for row in islice(csv.DictReader(file), rows)]
    with test.open(newline="") as file:
        images = [split(row["pixels"]) for row in islice(csv.DictReader(file), rows)]
    return [np.stack([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs], np.int64), np.stack(images)]


def split(pixels: str) -> np.ndarray:
    return np.array(pixels.split(" "), dtype=np.uint8).reshape(48, 48)


def weighted(array: np.ndarray) -> int:
    """A sum that also changes when two rows or two pixels trade places."""
    flat = array.reshape(len(array), -1)
    columns = flat @ np.arange(1, flat.shape[1] + 1, dtype=np.int64)
    return int(columns @ np.arange(1, len(flat) + 1, dtype=np.int64))


if __name__ == "__main__":
    main()
