"""How much memory a device has left, and whether the images belong into it."""

from pathlib import Path

import torch

SHARE = 1 / 4  # of the free memory: networks, gradients and batches need the rest
CGROUPS = (  # limit, use, and the use that is mere file cache: of a container, in both versions
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def fits(size: int, device: torch.device) -> tuple[bool, str]:
    """Whether `size` bytes of images are to lie on the device, and a line that says so with both figures.

    Not where they would take more than a quarter of its free memory. Where that cannot be asked for, they are.
    """
    left, what = free(device), f"images: {size / 1e6:,.1f} MB"
    if left is None:
        return True, f"{what}, on the device; how much it has free is not known"
    room = f"{left / 1e6:,.0f} MB are free on the device"
    if size <= SHARE * left:
        return True, f"{what}, on the device; {room}"
    return False, f"{what}, in a file: {room}, of which they may take a quarter; each batch is read ahead from there"


def free(device: torch.device) -> int | None:
    """Bytes that are free on the device; None where they cannot be asked for (another system than Linux)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [value for value in (available(), *map(allowed, CGROUPS)) if value is not None]
    return min(found) if found else None


def available(file: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes of main memory that can be had without swapping."""
    kibibytes = value_of(file, "MemAvailable:")
    return None if kibibytes is None else 1024 * kibibytes


def allowed(files: tuple[str, str, str], root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that a container may still take; None where it has no limit. Its file cache counts as free."""
    limit, used, cache = files
    try:
        left = int((root / limit).read_text()) - int((root / used).read_text())
    except (OSError, ValueError):  # no such version, or "max"
        return None
    return left + (value_of((root / limit).with_name("memory.stat"), cache) or 0)


def value_of(file: Path, name: str) -> int | None:
    """The number behind a name in a file of lines `name number`; None where either is not there."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
        return next((int(words[1]) for words in lines if words[:1] == [name]), None)
    except (OSError, ValueError, IndexError):
        return None
