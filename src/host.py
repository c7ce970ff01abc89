"""How the process treats threads and memory on a CPU. `prepare` is to be called before torch is imported."""

import ctypes
import os
import sys
from collections.abc import Callable

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # the numbers that glibc's malloc.h gives its options


def prepare() -> None:
    """Lets idle threads sleep, and keeps memory that was freed.

    torch's threads spin for a while after each operation, on cores that the kit's own (`src/train/convolution.py`)
    could have; whoever has said how they should wait is not overruled. And what malloc gives back to the system comes
    back page by page, each cleared anew: copying a batch's activations (9 MB) then takes 5 ms instead of 0.3.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if mallopt := of_glibc("mallopt"):
        for option, value in ((TRIM_THRESHOLD, -1), (MMAP_MAX, 0), (ARENA_MAX, 1)):
            mallopt(option, value)


def give_back() -> None:
    """Gives freed memory back after all: where another use with other sizes follows, which could not take it."""
    if trim := of_glibc("malloc_trim"):
        trim(0)


def of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it is not glibc."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
