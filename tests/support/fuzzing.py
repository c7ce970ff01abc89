"""Fuzzing of readers: a small file is mutated, and must be read correctly or refused with a message, within seconds.

The examples are always the same. `FER_FUZZ=50` tries fifty times as many, and others each time.
"""

import os
import signal
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from src.errors import UserError

TIMES = int(os.environ.get("FER_FUZZ") or 1)
SECONDS = 30  # for one small file: longer is a hang, also on a busy machine


def examples(count: int) -> settings:
    """Settings for `count` examples, times FER_FUZZ."""
    return settings(
        max_examples=count * TIMES,
        deadline=None,
        database=None,
        derandomize=TIMES == 1,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def read_or_refused(action: Callable):
    """The result of `action`, or None for a UserError of one or two printable lines. Any other error is raised."""
    signal.signal(signal.SIGALRM, _raise_timeout)
    signal.alarm(SECONDS)
    try:
        return action()
    except UserError as refusal:
        lines = str(refusal).split("\n")
        assert len(lines) <= 2 and all(line.isprintable() and line and len(line) <= 2_001 for line in lines)
        return None
    finally:
        signal.alarm(0)


def _raise_timeout(*_) -> None:
    raise TimeoutError(f"reading took longer than {SECONDS} s")


TOKENS = (
    b'"', b'""', b",", b"\n", b"\r\n", b"\0", b"\t", b" ", b"-", b"+", b".", b"0", b"7", b"256", b"-1", b"1.0", b"1e5",
    b"nan", b"9" * 20, b"9" * 5_000, "٣".encode(), b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[31m", b"../",
    b"{", b"[" * 3_000, b"null", b"\n" * 3_000, b"," * 3_000, b"1 " * 40_000,
)  # fmt: skip

_edit = st.tuples(
    st.sampled_from(("overwrite", "insert", "delete", "cut")),
    st.integers(0, 2**20),
    st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=8)),
)
edits = st.lists(_edit, min_size=1, max_size=4)


def edited(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """`content` with bytes overwritten, inserted, deleted or cut off; positions wrap around."""
    for kind, place, token in changes:
        at = place % (len(content) + 1)
        end = at + len(token)
        if kind == "overwrite":
            content = content[:at] + token + content[end:]
        elif kind == "insert":
            content = content[:at] + token + content[at:]
        elif kind == "delete":
            content = content[:at] + content[end:]
        else:
            content = content[:at]
    return content
