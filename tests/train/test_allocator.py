"""Freed memory stays in the process until it is released."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINUX = sys.platform.startswith("linux")
PAGE_FAULTS = """
import resource, sys
from src.train import allocator
if "keep" in sys.argv:
    allocator.keep_freed_memory()
def use():
    a, b = bytearray(64 << 20), bytearray(64 << 20)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
if "release" in sys.argv:
    allocator.release_freed_memory()
before = faults()
for _ in range(5):
    use()
print(faults() - before)
"""


def page_faults(*arguments: str) -> int:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PAGE_FAULTS, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(not LINUX or not os.confstr("CS_GNU_LIBC_VERSION"), reason="needs glibc")
def test_freed_memory_is_used_again_until_it_is_released():
    kept = page_faults("keep")
    assert page_faults() > 20 * max(kept, 1)
    assert page_faults("keep", "release") > 20 * max(kept, 1)


def test_the_command_line_imports_no_torch_before_it_sets_the_allocator():
    code = "import sys, src.main, src.train.allocator; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
