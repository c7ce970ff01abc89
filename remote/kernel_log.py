"""The log of a kernel, and why the kernel failed, with this repository's files and lines.

The built script unpacks its sources into a temporary folder. So a traceback names …/fer2013-0-<digest>/src/train/fit.py
and the line of the sources that were pushed. Where these have changed since, the explanation says so.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import build

FRAME = re.compile(r'File "[^"]*?/(src/[\w/]+\.py)", line (\d+)(?:, in (\S+))?')
FIRST_LINE = re.compile(r"fer2013-kit ([0-9a-f]{16}), commit (\S+)")  # the script prints it when it starts
TRACEBACK = "Traceback (most recent call last):"
LAST_LINES = 5  # shown where there is no traceback


@dataclass(frozen=True)
class Failure:
    """lines: to print. summary: in one line what was raised, and where in this repository."""

    lines: tuple[str, ...]
    summary: str


def parse_log(text: str) -> list[tuple[str, str]]:
    """(stream, line) of a log as the client writes it, a JSON array of {stream_name, time, data}; other texts too."""
    try:
        events = [(str(e.get("stream_name", "")), str(e.get("data", ""))) for e in json.loads(text or "[]")]
    except (ValueError, TypeError, AttributeError):
        events = [("stdout", text)]
    lines, open_lines = [], {}
    for stream, data in events:  # an event may hold many lines, or a part of one
        *whole, rest = (open_lines.pop(stream, "") + data).split("\n")
        lines += [(stream, line.rstrip("\r")) for line in whole]
        if rest:
            open_lines[stream] = rest
    return lines + list(open_lines.items())


def explain_failure(text: str, root: Path) -> Failure:
    """Why the kernel failed, from its log: the last traceback, or the last lines where there is none."""
    lines = parse_log(text)
    errors = [line for stream, line in lines if stream == "stderr"]
    starts = [at for at, line in enumerate(errors) if line.strip() == TRACEBACK]
    if not starts:
        last = [line for _, line in lines if line.strip()][-LAST_LINES:]
        summary = next((line for line in reversed(errors) if line.strip()), "its log is empty")
        return Failure(tuple(last), summary.strip())
    shown = first_traceback(errors[starts[-1] :])
    frames = [found for line in shown if (found := FRAME.search(line))]
    where = f" ({frames[-1][1]}, line {frames[-1][2]})" if frames else ""
    files = tuple(dict.fromkeys(frame[1] for frame in frames))
    return Failure((*map(with_local_path, shown), *compare_sources(lines, files, root)), shown[-1].strip() + where)


def first_traceback(lines: list[str]) -> list[str]:
    """The traceback at the beginning of `lines`, up to the line that says what was raised."""
    for at, line in enumerate(lines[1:], 1):
        if line.strip() and not line.startswith(" "):
            return lines[: at + 1]
    return lines


def with_local_path(line: str) -> str:
    """A frame's line with the path as it is in this repository."""
    return FRAME.sub(lambda found: found[0].replace(found[0].split('"')[1], found[1]), line)


def compare_sources(lines: list[tuple[str, str]], files: tuple[str, ...], root: Path) -> list[str]:
    """Whether the sources here are those that ran, by the digest in the log's first lines."""
    ran = next((found for _, line in lines if (found := FIRST_LINE.search(line))), None)
    if ran is None:
        return ["the log does not name its sources: the lines may have moved since"]
    digest, commit = ran[1], ran[2]
    try:
        here = build.code_digest(build.collect_sources(root))
    except build.BuildError:
        here = "a tree that cannot be built"
    if here == digest:
        return [f"the sources are unchanged since: digest {digest}, commit {commit}"]
    changed = [file for file in files if build.git(root, "diff", "--quiet", commit, "--", file) is None]
    what = f"{', '.join(changed)} changed" if changed else "the files above did not change"
    return [f"the sources have changed since: {digest} (commit {commit}) ran, here is {here}; {what}"]
