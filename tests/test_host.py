"""How the process treats threads and memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINUX = sys.platform.startswith("linux")
TOUCHED = """
import sys
from src import host
if sys.argv[1] == "prepared":
    host.prepare()
import resource
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
a, b = bytearray(64 << 20), bytearray(64 << 20)
del a, b
before = faults()
for _ in range(5):
    a, b = bytearray(64 << 20), bytearray(64 << 20)
    del a, b
print(faults() - before)
"""


def python(code: str, *arguments: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_", "MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=kept | environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(not LINUX or not os.confstr("CS_GNU_LIBC_VERSION"), reason="glibc alone")
def test_memory_that_was_freed_is_used_again():
    plain, prepared = (int(python(TOUCHED, how)) for how in ("plain", "prepared"))
    assert plain > 20 * max(prepared, 1)  # else each use asks the system for its pages anew


@pytest.mark.skipif(not LINUX or not os.confstr("CS_GNU_LIBC_VERSION"), reason="glibc alone")
def test_memory_can_be_given_back_all_the_same():
    code = TOUCHED.replace("before =", "host.give_back()\nbefore =")
    assert int(python(code, "prepared")) > 20 * max(int(python(TOUCHED, "prepared")), 1)


@pytest.mark.parametrize(
    ("said", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
    ids=str,
)
def test_idle_threads_sleep_where_nobody_has_said_otherwise(said, expected):
    code = "import os; from src import host; host.prepare(); print(os.environ.get('GOMP_SPINCOUNT'))"
    assert python(code, **said).strip() == expected


def test_it_comes_before_torch():
    code = "import sys, src.main, src.host; assert 'torch' not in sys.modules"
    python(code)
