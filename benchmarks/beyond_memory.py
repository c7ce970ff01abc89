"""How time and memory grow with 1, 4 and 16 copies of the data: images on the device, and images in a file.

    python benchmarks/beyond_memory.py --input DIR --json beyond_memory.json

Each case is one whole pass in a process of its own: all rows in random order, in batches of 128, with flips and the
gradient of a linear layer, and nothing else: a network that computes longer hides more of the reading. Memory is what a
pass holds at most beyond what the process held before the data (anonymous memory, looked at each 20 batches; on a GPU
its own count as well): a file's mapped pages count as resident too, but the system drops them when it needs them.
--rows bounds the data set of which copies are made. The file's pages are in the system's cache: it was just written.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ways import faces
from src.config import Augment
from src.data.batches import Rows, epoch_order, on_device, train_batches
from src.data.mapped import in_file
from src.data.memory import value_of
from src.train import device as devices

COPIES = (1, 4, 16)
WAYS = ("device", "file")
BATCH, EACH = 128, 20


def anonymous() -> float:
    """MB of this process that are no file's."""
    return (value_of(Path("/proc/self/status"), "RssAnon:") or 0) * 1024 / 1e6


def rows_of(way: str, images: np.ndarray, labels: np.ndarray, copies: int, folder: Path, device: torch.device) -> Rows:
    """So many copies of the images, on the device or in a file in the folder."""
    together = [images] * copies
    pixels = np.concatenate(together) if way == "device" else in_file(together, folder)
    return on_device(pixels, np.tile(labels, copies), device)


def one_pass(rows: Rows, device: torch.device) -> tuple[float, float]:
    """Seconds of one pass, and the most anonymous memory in it, MB."""
    generator = torch.Generator(device).manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7)).to(device)
    how, most, started = Augment(flip=0.5), anonymous(), time.perf_counter()
    order = epoch_order(rows.labels, None, generator)
    for step, (x, y) in enumerate(train_batches(rows, order, BATCH, how, generator)):
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        if step % EACH == 0:
            most = max(most, anonymous())
    loss.item()  # waits for the device
    return time.perf_counter() - started, most


def measure(way: str, copies: int, folder: Path, device: torch.device) -> dict:
    """One case in this process; the folder holds the images and the labels of one copy."""
    images, labels = np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    warm = on_device(np.array(images[: 2 * BATCH]), labels[: 2 * BATCH], device)
    one_pass(warm, device)  # so that what torch allocates once does not count
    before = anonymous()
    seconds, most = one_pass(rows_of(way, images, labels, copies, folder, device), device)
    unit = 1 if sys.platform == "darwin" else 1024
    figures = {
        "seconds": round(seconds, 2),
        "MB": round(most - before, 1),
        "resident_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6),
    }
    if device.type == "cuda":
        figures["device_MB"] = round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return figures


def in_process(way: str, copies: int, folder: Path, device: str) -> dict:
    """One case in a fresh process."""
    command = [sys.executable, __file__, "--one", way, str(copies), str(folder), "--device", device]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def compare(folder: Path, rows: int, device: str) -> dict:
    """All cases, printed with their ratios to one copy of the same way and to the other way."""
    print(f"{rows:,} rows a copy ({rows * 48 * 48 / 1e6:.1f} MB), one pass, {devices.describe(device)}")
    print(
        f"{'copies':>6} {'way':6} {'seconds':>8} {'growth':>7} {'MB':>8} {'growth':>7} {'resident':>9}   file : device"
    )
    found = {way: {} for way in WAYS}
    for copies in COPIES:
        for way in WAYS:
            figures = found[way][copies] = in_process(way, copies, folder, device)
            print(
                row(found, way, copies),
                f"{figures['device_MB']} MB on the GPU" if "device_MB" in figures else "",
                flush=True,
            )
    return found


def row(found: dict, way: str, copies: int) -> str:
    """One case as a line of the table."""
    now, first, other = found[way][copies], found[way][COPIES[0]], found[WAYS[0]][copies]
    seconds, grown = now["seconds"] / first["seconds"], now["MB"] / max(first["MB"], 0.1)
    ratio = f"{now['seconds'] / other['seconds']:.2f} in time, {now['MB'] / max(other['MB'], 0.1):.2f} in memory"
    return (
        f"{copies:6} {way:6} {now['seconds']:8.2f} {seconds:6.1f}x {now['MB']:8.1f} {grown:6.1f}x "
        f"{now['resident_MB']:9,}   {ratio if way == 'file' else ''}"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, metavar="DIR", help="the competition's files; default: made-up faces")
    parser.add_argument("--rows", type=int, default=28_709, help="of the data set (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the files are made; default: the system's temporary folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = devices.choose(arguments.device)[0]
    if arguments.one:
        way, copies, folder = arguments.one
        print(json.dumps(measure(way, int(copies), Path(folder), device)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        images, labels = faces(arguments.input, arguments.rows)
        np.save(Path(folder, "images.npy"), images)
        np.save(Path(folder, "labels.npy"), labels)
        found = compare(Path(folder), len(labels), str(device))
    if arguments.json:
        papers = {"device": devices.describe(str(device)), "torch": torch.__version__, "rows": len(labels)}
        arguments.json.write_text(json.dumps(papers | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
