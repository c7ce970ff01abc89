"""Watches the kernel: its state, the time, its log's last line, and the reason where it fails."""

import sys
import time
from pathlib import Path

from remote import kernel_log
from remote.client import Client, KaggleError
from remote.git_tags import KernelVersion
from src.terminal import WIDTH

FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 5.0, 1.5, 60.0  # seconds between two calls
LISTEN_SECONDS = 3.0  # for the last line of the log
MAX_HOURS = 13.0  # a session of twelve hours, and some time in the queue
FINISHED_STATES = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED")


def watch(client: Client, root: Path, kernel: str, pushed: KernelVersion | None, hours: float = MAX_HOURS) -> None:
    """Returns when the kernel is complete; raises KaggleError when it fails, is cancelled or takes over `hours`."""
    name, started, pause, shown = pushed.name if pushed else kernel, time.time(), FIRST_PAUSE, None
    since = pushed.time if pushed else started
    while True:
        answer = client.call("status", kernel=kernel)
        elapsed, state = time.time() - since, answer["state"]
        line = client.call("last_line", kernel=kernel, seconds=LISTEN_SECONDS)["line"] if state == "RUNNING" else ""
        line = kernel_log.visible(line.rsplit("\n", 1)[-1])
        if (state, line) != shown:
            head = f"{name}: {state} {hours_minutes_seconds(elapsed)}"
            print(f"{head}  {line[: max(0, WIDTH - len(head) - 2)]}".rstrip(), flush=True)
            shown = state, line
        if state in FINISHED_STATES:
            return check_end(client, root, kernel, name, answer)
        left = 3600 * hours - (time.time() - started)
        if left <= 0:
            raise KaggleError(
                f"{name}: still {state} after {hours_minutes_seconds(elapsed)}.\n"
                f"To continue: `watch`. To stop the kernel: {kernel_url(kernel)}"
            )
        time.sleep(min(pause, left))
        pause = min(pause * GROWTH, LONGEST_PAUSE)


def check_end(client: Client, root: Path, kernel: str, name: str, answer: dict) -> None:
    """Raises KaggleError where the kernel did not complete, and prints the reason."""
    if answer["state"] != "COMPLETE":
        raise KaggleError(f"{name}: {explain_end(client, root, kernel, answer)}\nFetch what it left: `fetch`.")


def explain_end(client: Client, root: Path, kernel: str, answer: dict) -> str:
    """Why a kernel did not complete, in one line; prints its traceback or last lines. answer: of the call `status`."""
    if answer["state"] != "ERROR":
        return "it was cancelled"
    found = kernel_log.explain_failure(client.call("fetch_log", kernel=kernel, if_missing={"log": ""})["log"], root)
    if found.lines:
        print("\n".join(found.lines), file=sys.stderr)
    return " ".join(filter(None, ("it failed:", answer["message"], found.summary)))


def hours_minutes_seconds(seconds: float) -> str:
    """H:MM:SS."""
    minutes, rest = divmod(int(max(0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def kernel_url(kernel: str) -> str:
    return f"https://www.kaggle.com/code/{kernel}"
