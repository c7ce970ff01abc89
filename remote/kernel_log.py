"""The log of a kernel, and why the kernel failed, with this repository's files and lines.

The built script unpacks its sources into a temporary folder. So a traceback names …/fer2013-0-<digest>/src/train/fit.py
and the line of the sources that were pushed. Where these have changed since, the explanation says so.

Not all lines of a log are the script's own. After the script's end Kaggle converts it to HTML, on the same stderr, and
libraries and torchrun write warnings and tracebacks of their own. None of these is the reason.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import build
import repository
from remote.exception_groups import begins_group, end_of_group, raised_in_group
from src.terminal import CONTINUED, WIDTH, tie_signs

FRAME = re.compile(r'File "([^"]*?/fer2013-[^/"]+/(src/[\w/]+\.py))", line (\d+)')  # of the unpacked sources
FIRST_LINE = re.compile(r"fer2013-kit ([0-9a-f]{16}), commit ([^\s,]+)")  # the script prints it when it starts
FINISHED = re.compile(r"rows, checked; [\d,.]+ s in all$")  # the last line of a run that reached its end
MISSING = re.compile(r"warning: (?P<name>\S+) is missing: (?P<reason>.*)")
CONTINUES = re.compile(r"warning: (?:\S+: )?(?P<reason>.*); the run continues without (?P<name>\S+)$")
FAILED = "failed: "  # in the run's log, beside the error on stderr
ERROR = re.compile(r"(fer2013[\w ]*: )?error: ")  # also as argparse writes it
NO_MEMBER = "error: no member has finished"  # a consequence: where there is a traceback, that is the cause
KILLED = "probably killed (memory or time)"
LAST_LINES = 5  # shown where the script says nothing of its end
LONGEST_LINE = 200  # characters of a line that is quoted

# What the lines of others look like.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\t\r\n -~\x80-\U0010ffff]")  # colors, cursor movements
PROGRESS = re.compile(r"[^|]*\d%\|[^|]*\| [^\[]*\[[^\]]*\]")  # a bar that was not ended before the line continues
RANK = re.compile(r"(?:\[(?:rank|default|trainer)?(\d+)\]:? ?)+")  # by torch, by torchrun or by the kit
CONVERSION = "[NbConvertApp]"  # the script has ended before this line
WARNING = re.compile(r"\S.*:\d+: \w*Warning: ")  # Python's own form; an indented line of the source follows
TORCH = re.compile(  # torch's C++ and torchrun, in three forms
    r"\[[IWEF] \w+\.cpp|\[?[IWEF]\d{4} \d\d:\d\d:\d\d"
    r"|\[?[\d-]{10} .*\] torch\.distributed|[A-Z]+:torch\.distributed|torchrun ended with"
)
CRASH = r"Killed|Segmentation fault|Bus error|Aborted|Fatal Python error: .+|terminate called .+|what\(\): .+"
ENDING = re.compile(rf"(?:\S+: line \d+: +\d+ )? *({CRASH})")  # by a shell, Python or C++
EXIT_CODE = re.compile(r"\W{0,3}(?:\S+ ){0,4}exit(?:ed)?\b.*\b(?:code|status)\W+-?\d+\W*$", re.I)
SIGNAL = re.compile(r"SIG[A-Z]+: |interrupted; ")  # the kit's words on stderr

# The parts of a traceback.
TRACEBACK = "Traceback (most recent call last):"
SYNTAX_ERROR = re.compile(r'  File "[^"]+", line \d+$')  # of the script itself: it has no first line
RAISED = re.compile(r"[A-Za-z_][\w.<>]*(: |:?$)")
CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
HARMLESS = ("Exception ignored in", "Exception in thread", "--- Logging error ---")  # what follows ended nothing
FOREIGN = re.compile(r'torch\.distributed\.elastic\.|  File "[^"]*\b(nbconvert|jupyter|nbclient|papermill)')
ROOT_CAUSE = "Root Cause"  # of torchrun's table
RANK_OF_TABLE, EXIT_CODE_OF_TABLE = re.compile(r"\brank +: (\d+)"), re.compile(r"\bexitcode +: (-?\d+)")


@dataclass(frozen=True)
class Failure:
    """summary: the reason in one line. lines: to print before it, empty where the summary says it all."""

    lines: tuple[str, ...]
    summary: str


@dataclass(frozen=True)
class Line:
    """A line of one stream. at: its number there. rank: who wrote it, where it says so. of_script: of the script."""

    at: int
    text: str
    rank: int | None
    of_script: bool


@dataclass(frozen=True)
class Traceback:
    """The traceback that begins and ends at these lines, with its causes. raised: None where it is cut off."""

    start: int
    end: int
    rank: int | None
    lines: tuple[str, ...]
    raised: str | None


@dataclass(frozen=True)
class RankEnd:
    """The rank that torchrun saw end first. code: its exit code, or minus a signal's number. at: the table's line."""

    rank: int
    code: int
    at: int

    @property
    def reason(self) -> str:
        """What that means."""
        return f"exit code {self.code}" if self.code >= 0 else KILLED


def explain_failure(text: str, root: Path) -> Failure:
    """Why the kernel failed, from its log: the script's own traceback or error, or how it ended without one."""
    log = parse_log(text)
    names = dict.fromkeys(name for name, _ in log)
    streams = {name: mark_lines([line for stream, line in log if stream == name]) for name in names}
    for lines in sorted(streams.values(), key=lambda lines: lines is not streams.get("stderr")):
        ended, error = first_rank_end(lines), last_error(lines)
        tracebacks = pick_tracebacks(lines, ended)
        if error and (not tracebacks or is_cause(error[0], tracebacks[0], ended)):
            more = [f"rank {ended.rank}: {ended.reason}"] if ended and ended.code < 0 else []
            who = "" if error[0].rank is None else f"rank {error[0].rank}: "
            return Failure((), "; ".join([who + " ".join(line.text.strip() for line in error), *more]))
        if tracebacks:
            return explain_tracebacks(tracebacks, log, error, root)
    return explain_silence(streams)


def is_cause(error: Line, traceback: Traceback, ended: RankEnd | None) -> bool:
    """Whether the error came after the traceback and is not what followed from it, or from torchrun's giving up."""
    followed = error.text.startswith(NO_MEMBER) or (ended is not None and traceback.end < ended.at < error.at)
    return error.at > traceback.end and not followed


# ------------------------------------------------------------------------------------------- the lines


def parse_log(text: str) -> list[tuple[str, str]]:
    """(stream, line) of a log as the client writes it, a JSON array of {stream_name, time, data}; other texts too.

    A line is what a terminal would show of it in the end: without colors and without overwritten progress bars.
    """
    events = [(str(event.get("stream_name", "")), str(event.get("data") or "")) for event in parse_events(text)]
    end = "" if any("\n" in data for _, data in events) else "\n"  # a log without any: an event is a line
    lines, open_lines = [], {}
    for stream, data in ((stream, data + end) for stream, data in events):  # it may hold many lines, or a part of one
        if stream in open_lines and (WARNING.match(data) or data.startswith(CONVERSION)):
            lines.append((stream, open_lines.pop(stream)))
        *whole, rest = (open_lines.pop(stream, "") + data).split("\n")
        lines += [(stream, line) for line in whole]
        if rest:
            open_lines[stream] = rest
    return [(stream, visible(line)) for stream, line in lines + list(open_lines.items())]


def parse_events(text: str) -> list[dict]:
    """The events of a JSON array, also where it is cut off; another text is one event."""
    found, decoder = [], json.JSONDecoder()
    at = text.find("{") if text.lstrip().startswith("[") else -1
    while at >= 0:
        try:
            event, at = decoder.raw_decode(text, at)
        except ValueError:
            break
        found.append(event)
        at = text.find("{", at)
    empty = text.strip() in ("", "[]", "null")
    return found if found or empty else [{"stream_name": "stdout", "data": text}]


def visible(line: str) -> str:
    """What is left of a line after its carriage returns, colors and the progress bar before it."""
    text = CONTROL.sub("", line.rstrip("\r").rsplit("\r", 1)[-1])
    bar = PROGRESS.match(text)
    return text[bar.end() :].lstrip(" ") if bar and text[bar.end() :].strip() else text


def unwrap(texts: list[str]) -> list[str]:
    """The lines as they were before the script wrapped them."""
    found, last = [], ("", "")  # rank and rest of the line before
    for text in texts:
        rank = match[0] if (match := RANK.match(text)) else ""
        line = text.removeprefix(rank)
        word = tie_signs(line.removeprefix(CONTINUED)).split(" ")[0] if line.startswith(CONTINUED) else ""
        is_full = len(" ".join(["".join(last), word])) > WIDTH  # the word had no place there
        if word and last[0] == rank and is_full and found[-1][len(rank) : len(rank) + 1] not in ("", " "):
            found[-1] += line[len(CONTINUED) - 1 :]
        else:
            found.append(text)
        last = rank, line
    return found


def mark_lines(texts: list[str]) -> list[Line]:
    """The lines of one stream: who wrote each, and whether it is the script's own."""
    found, converting, warned = [], False, False
    for at, text in enumerate(unwrap(texts)):
        prefix = RANK.match(text)
        rank, text = (int(prefix[1]), text[prefix.end() :]) if prefix else (None, text)
        converting = converting or text.startswith(CONVERSION)
        foreign = any(form.match(text) for form in (WARNING, TORCH, ENDING, EXIT_CODE))
        found.append(Line(at, text, rank, not (converting or foreign or (warned and text.startswith("  ")))))
        warned = WARNING.match(text) is not None
    return found


def last_error(lines: list[Line]) -> list[Line]:
    """The last `error:` line and the line after it, where the script has written one; empty without any."""
    errors = [line for line in lines if line.of_script and ERROR.match(line.text)]
    if not errors:
        return []
    following = next((line for line in lines[errors[-1].at + 1 :] if line.rank == errors[-1].rank), None)
    ends = (*CHAINED, *HARMLESS, TRACEBACK)
    if following is None or not following.of_script or not following.text.strip() or following.text.startswith(ends):
        return errors[-1:]
    return [errors[-1], following]


# --------------------------------------------------------------------------------------- the tracebacks


def pick_tracebacks(lines: list[Line], ended: RankEnd | None) -> list[Traceback]:
    """The last traceback of the script. Of several ranks: of each, the one that ended first before the others."""
    last = {}
    for rank in {line.rank for line in lines}:
        for found in find_tracebacks([line for line in lines if line.of_script and line.rank == rank]):
            last[rank] = found
    alone = last.pop(None, None)
    if alone and not last and ended and alone.end < ended.at:
        return [replace(alone, rank=ended.rank)]
    ranks = sorted(last.values(), key=lambda found: (ended is None or found.rank != ended.rank, found.end))
    return ranks or ([alone] if alone else [])


def find_tracebacks(lines: list[Line]) -> list[Traceback]:
    """The tracebacks among the script's lines of one rank, each with its causes, without those that ended nothing."""
    found, end = {}, 0  # by their first lines; None for one that ended nothing
    for at in (number for number, line in enumerate(lines) if begins_traceback(line.text)):
        if at < end:
            continue
        before = next((line.text for line in reversed(lines[end:at]) if line.text.strip()), "")
        start = max(found) if found and before in CHAINED else at
        end, raised = end_of_traceback(lines, at)
        harmless = found[start] is None if start < at else before.startswith(HARMLESS)
        texts = tuple(line.text for line in lines[start:end])
        ended_nothing = harmless or any(map(FOREIGN.match, texts))
        whole = Traceback(lines[start].at, lines[end - 1].at, lines[at].rank, texts, raised)
        found[start] = None if ended_nothing else whole
    return [one for one in found.values() if one]


def begins_traceback(text: str) -> bool:
    return text.endswith(TRACEBACK) or SYNTAX_ERROR.match(text) is not None


def end_of_traceback(lines: list[Line], start: int) -> tuple[int, str | None]:
    """The number after the last line of the traceback that begins at `start`, and what it says was raised."""
    if begins_group(lines[start].text):
        texts = [line.text for line in lines]
        end = end_of_group(texts, start)
        return end, raised_in_group(texts[start:end])
    at = start + 1
    while at < len(lines) and (not lines[at].text.strip() or lines[at].text.startswith(" ")):
        at += 1
    if at == len(lines) or ERROR.match(lines[at].text) or not RAISED.match(lines[at].text):
        return at, None
    raised, at = lines[at].text.strip(), at + 1
    if raised.endswith(":") and at < len(lines) and not begins_traceback(lines[at].text):  # a message that begins below
        raised, at = f"{raised} {lines[at].text.strip()}", at + 1
    while at < len(lines) and lines[at].text[:1] in (" ", "\t") and not begins_traceback(lines[at].text):
        at += 1  # a message of several lines
    return at, raised


def explain_tracebacks(found: list[Traceback], log: list[tuple[str, str]], error: list[Line], root: Path) -> Failure:
    """The first traceback with the paths as they are in this repository, and the other ranks' in one line each."""
    frames = [frame for line in found[0].lines if (frame := FRAME.search(line))]
    files = tuple(dict.fromkeys(frame[2] for frame in frames))
    lines = [FRAME.sub(lambda frame: frame[0].replace(frame[1], frame[2]), line) for line in found[0].lines]
    others = [summarize(other) for other in found[1:]]
    shown = (*lines, *compare_sources(log, files, root), *others, *(line.text for line in error))
    return Failure(shown, summarize(found[0]))


def summarize(found: Traceback) -> str:
    """Which rank raised what, and where in this repository."""
    frames = [frame for line in found.lines if (frame := FRAME.search(line))]
    who = "" if found.rank is None else f"rank {found.rank}: "
    where = f" ({frames[-1][2]}, line {frames[-1][3]})" if frames else ""
    return f"{who}{found.raised or f'its traceback is cut off after {found.lines[-1].strip()}'}{where}"


def compare_sources(log: list[tuple[str, str]], files: tuple[str, ...], root: Path) -> list[str]:
    """Whether the sources here are those that ran, by the digest in the log's first lines."""
    ran = next((found for _, line in log if (found := FIRST_LINE.search(line))), None)
    if ran is None:
        return ["the log does not name its sources: the lines may have moved since"]
    digest, commit = ran[1], ran[2]
    try:
        here = build.code_digest(build.collect_sources(root))
    except build.BuildError:
        here = "a tree that cannot be built"
    if here == digest:
        return [f"the sources are unchanged since: digest {digest}, commit {commit}"]
    if repository.git(root, "cat-file", "-e", commit) is None:
        return [
            f"the sources have changed since: {digest} ran, here is {here}; commit {commit} is not in this repository"
        ]
    changed = [file for file in files if repository.git(root, "diff", "--quiet", commit, "--", file) is None]
    what = f"{', '.join(changed)} changed" if changed else "the files above did not change"
    return [f"the sources have changed since: {digest} (commit {commit}) ran, here is {here}; {what}"]


# ------------------------------------------------------------------------- neither error nor traceback


def first_rank_end(lines: list[Line]) -> RankEnd | None:
    """What torchrun's last table says, where it gave up."""
    starts = [line.at for line in lines if line.text.startswith(ROOT_CAUSE)]
    if not starts:
        return None
    table = "\n".join(line.text for line in lines[starts[-1] :])
    rank, code = RANK_OF_TABLE.search(table), EXIT_CODE_OF_TABLE.search(table)
    return RankEnd(int(rank[1]), int(code[1]), starts[-1]) if rank and code else None


def explain_silence(streams: dict[str, list[Line]]) -> Failure:
    """What the script did last, and what that means."""
    every = [line for lines in streams.values() for line in lines]
    ended = next(filter(None, map(first_rank_end, streams.values())), None)
    said = last_script_lines(streams)
    if any(FINISHED.search(line.text) for line in said):
        found = [match for line in every if (match := CONTINUES.match(line.text) or MISSING.match(line.text))]
        missing = [f"{match['name']} is missing: {match['reason']}" for match in found]
        more = [f"rank {ended.rank}: {ended.reason}"] if ended else []
        return Failure((), "; ".join(["the run finished", *missing, *more]))
    if failed := [line.text for line in said[-LAST_LINES:] if line.text.startswith(FAILED)]:
        return Failure((), failed[-1])
    who = f"rank {ended.rank} " if ended else ""
    if not said:
        return Failure((), f"{who}ended without a word: its log holds no line of the script")
    last = ([line for line in said if ended and line.rank == ended.rank] or said)[-1].text.strip()[:LONGEST_LINE]
    crash = [found[1] for line in every if (found := ENDING.match(line.text)) and found[1] != "Killed"]
    reason = "; ".join(crash)[:LONGEST_LINE] or (ended.reason if ended else KILLED)
    return Failure(
        tuple(line.text for line in said[-LAST_LINES:]), f'{who}ended without a word after "{last}": {reason}'
    )


def last_script_lines(streams: dict[str, list[Line]]) -> list[Line]:
    """The script's lines. On stderr only its words on signals are surely the script's; without others, all there."""
    said = {name: [line for line in lines if line.of_script and line.text.strip()] for name, lines in streams.items()}
    errors = said.pop("stderr", [])
    others = [line for lines in said.values() for line in lines]
    return [*others, *(line for line in errors if SIGNAL.match(line.text))] if others else errors
