"""Watches the kernel: its state, how long, its own last line; and says why, where it fails."""

import sys
import time
from pathlib import Path

from remote import client, kernel_log
from remote.client import KaggleError
from remote.git_tags import KernelVersion

FIRST, GROWTH, LONGEST = 5.0, 1.5, 60.0  # seconds between two questions
LISTEN = 3.0  # seconds to listen to the log for its last line
HOURS = 13.0  # a session of twelve hours, and some time in the queue
OVER = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED")


def watch(root: Path, kernel: str, pushed: KernelVersion | None, hours: float = HOURS) -> None:
    """Returns when the kernel is complete; raises KaggleError when it fails, is cancelled or takes over `hours`."""
    name, started, pause, said = pushed.name if pushed else kernel, time.time(), FIRST, None
    since = pushed.time if pushed else started
    while True:
        answer = client.call("status", kernel=kernel)
        elapsed, state = time.time() - since, answer["state"]
        line = client.call("last_line", kernel=kernel, seconds=LISTEN)["line"] if state == "RUNNING" else ""
        if (state, line) != said:
            print(f"{name}: {state} {clock(elapsed)}  {line[:160]}".rstrip(), flush=True)
            said = state, line
        if state in OVER:
            return end(root, kernel, name, answer, elapsed)
        left = 3600 * hours - (time.time() - started)
        if left <= 0:
            raise KaggleError(
                f"{name}: still {state} after {clock(elapsed)}.\n"
                f"`watch` goes on watching; to stop it: {address(kernel)}"
            )
        time.sleep(min(pause, left))
        pause = min(pause * GROWTH, LONGEST)


def end(root: Path, kernel: str, name: str, answer: dict, elapsed: float) -> None:
    """Returns where the kernel completed; otherwise raises KaggleError, having printed why."""
    if answer["state"] == "COMPLETE":
        return
    if answer["state"] != "ERROR":
        raise KaggleError(f"{name}: it was cancelled after {clock(elapsed)}.\nWhat it left: `fetch`.")
    raise KaggleError(f"{name}: it failed: {explain(root, kernel, answer['message'])}\nWhat it left: `fetch`.")


def explain(root: Path, kernel: str, message: str = "") -> str:
    """Prints the traceback of a kernel that failed, and returns its reason in one line."""
    found = kernel_log.failure(client.call("log", kernel=kernel)["log"], root)
    print("\n".join(found.lines), file=sys.stderr)
    return f"{message} {found.summary}".strip()


def clock(seconds: float) -> str:
    """H:MM:SS."""
    minutes, rest = divmod(int(max(0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def address(kernel: str) -> str:
    return f"https://www.kaggle.com/code/{kernel}"
