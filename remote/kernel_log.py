"""The log of a kernel: its last line, and why it failed, in this repository's files and lines.

The built script unpacks its sources into a temporary folder, so a traceback names …/fer2013-0-<digest>/src/train/fit.py
and the right line of the sources that were pushed. These may have changed since, and then that is said.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import build
from remote import git_tags

FRAME = re.compile(r'File "[^"]*?/(src/[\w/]+\.py)", line (\d+)(?:, in (\S+))?')
HEADER = re.compile(r"fer2013-kit ([0-9a-f]{16}), commit (\S+)")
START = "Traceback (most recent call last):"
LAST = 5  # lines that are shown where there is no traceback


@dataclass(frozen=True)
class Failure:
    """`lines` to print, and in one line what was raised and where in this repository."""

    lines: tuple[str, ...]
    summary: str


def read(text: str) -> list[tuple[str, str]]:
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


def failure(text: str, root: Path) -> Failure:
    """Why the kernel failed, from its log: the last traceback, or its last words where there is none."""
    lines = read(text)
    errors = [line for stream, line in lines if stream == "stderr"]
    starts = [at for at, line in enumerate(errors) if line.strip() == START]
    if not starts:
        last = [line for _, line in lines if line.strip()][-LAST:]
        said = next((line for line in reversed(errors) if line.strip()), "it left no word in its log")
        return Failure(tuple(last), said.strip())
    shown = traceback(errors[starts[-1] :])
    frames = [found for line in shown if (found := FRAME.search(line))]
    where = f" ({frames[-1][1]}, line {frames[-1][2]})" if frames else ""
    own = tuple(dict.fromkeys(frame[1] for frame in frames))
    return Failure((*map(at_home, shown), *changes(lines, own, root)), shown[-1].strip() + where)


def traceback(lines: list[str]) -> list[str]:
    """The traceback at the beginning of `lines`: up to the first line that is not indented, with its continuation."""
    for at, line in enumerate(lines[1:], 1):
        if line.strip() and not line.startswith(" "):
            return lines[: at + 1]
    return lines


def at_home(line: str) -> str:
    """A frame's line with the path as it is in this repository."""
    return FRAME.sub(lambda found: found[0].replace(found[0].split('"')[1], found[1]), line)


def changes(lines: list[tuple[str, str]], files: tuple[str, ...], root: Path) -> list[str]:
    """Whether the sources here are those that ran, by the digest in the log's first lines."""
    ran = next((found for _, line in lines if (found := HEADER.search(line))), None)
    if ran is None:
        return ["the log does not say of which sources: the lines may have moved since"]
    digest, commit = ran[1], ran[2]
    try:
        here = build.digest_of(build.collect(root))
    except build.BuildError:
        here = "a tree that cannot be built"
    if here == digest:
        return [f"the sources are unchanged since: digest {digest}, commit {commit}"]
    moved = [file for file in files if git_tags.git(root, "diff", "--quiet", commit, "--", file) is None]
    what = f"{', '.join(moved)} changed" if moved else "the files above did not change"
    return [f"the sources have changed since: {digest} (commit {commit}) ran, here is {here}; {what}"]
