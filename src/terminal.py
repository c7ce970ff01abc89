"""What a command prints: lines of at most 79 columns, on any encoding, to a reader that may go away."""

import codecs
import contextlib
import io
import os
import select
import sys
import textwrap
from collections.abc import Callable

WIDTH = 79  # columns
CONTINUED = " " * 4  # before the rest of a line that was wrapped
TIED = "\0"
PIPE_CLOSED = 141  # exit code: 128 + SIGPIPE, as of a program that this signal ends
ASCII = {"–": "-", "—": "-", "…": "...", "±": "+-", "×": "x", "·": ".", "→": "->"}


def wrap(text: str, width: int = WIDTH) -> str:
    """The text with longer lines broken at spaces; the rest is indented by 4. Only a longer word, as a path, stays."""
    return "\n".join(part for line in text.split("\n") for part in wrap_line(line, width))


def wrap_line(line: str, width: int) -> list[str]:
    """One line in parts of at most `width` columns."""
    if len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip(" "))] + CONTINUED
    kept = {"subsequent_indent": indent, "break_long_words": False, "break_on_hyphens": False}
    return [part.replace(TIED, " ") for part in textwrap.wrap(tie_signs(line), width, **kept)]


def tie_signs(line: str) -> str:
    """The line with another character instead of the space before each per cent sign: no line breaks there."""
    return line.replace(" %", f"{TIED}%")


def aligned(rows: list[tuple]) -> str:
    """The rows as text, in columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def print_wrapped(text: str) -> None:
    """Prints a text in lines of at most 79 columns, at once."""
    print(wrap(text), flush=True)


def announce(text: str, stream: io.TextIOBase | None = None) -> None:
    """Prints at once what a command is about to do; a reader that has left does not stop it.

    stream: None is standard error, for commands whose output may be read by a program.
    """
    with contextlib.suppress(OSError):
        print(wrap(text), file=stream or sys.stderr, flush=True)


def announce_loading(package: str, stream: io.TextIOBase | None = None) -> None:
    """Announces that the package is being loaded, which takes seconds, unless it is there."""
    if package not in sys.modules:
        announce(f"loading {package} …", stream)


def announce_reading() -> None:
    """Announces that the data is being read, on a terminal only."""
    if sys.stderr and sys.stderr.isatty():
        announce("reading the competition's files …")


# -------------------------------------------------------------------------------------- the streams


def run_command(command: Callable[[], int]) -> int:
    """Calls `command` and returns its exit code, or 141 if nobody reads what it prints, as after `| head -1`.

    No character that it prints raises, whatever the encoding of the streams is.
    """
    accept_any_character()
    code = PIPE_CLOSED
    try:
        code = command()
    except BrokenPipeError:
        if not any(map(is_closed, streams())):  # another pipe: a defect
            raise
    finally:
        lost = discard_unread()
    return code or (PIPE_CLOSED if lost else 0)


def streams() -> list[io.TextIOWrapper]:
    """Standard output and standard error, but for those that are no files, as in a notebook."""
    return [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]


def accept_any_character() -> None:
    """Lets the streams replace what their encoding lacks, and bytes of paths that are not UTF-8."""
    codecs.register_error("readable", replace_unknown)
    for stream in streams():
        stream.reconfigure(errors="readable")


def replace_unknown(error: UnicodeError) -> tuple[str, int]:
    """The error handler of the streams: a similar text in ASCII for the kit's own signs, else escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(ASCII.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in signs), error.end


def is_closed(stream: io.TextIOWrapper) -> bool:
    """Whether the stream is a pipe without a reader."""
    try:
        stream.flush()
        if not hasattr(select, "poll"):  # Windows
            return False
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # no file at all, as in a test
        return False


def discard_unread() -> bool:
    """Leads each stream that cannot be written to nowhere: Python would report at its end what is left.

    Returns whether one was a pipe that nobody reads.
    """
    lost = False
    for stream in streams():
        with contextlib.suppress(OSError, ValueError):
            try:
                stream.flush()
            except OSError as error:  # a terminal that was closed raises EIO
                lost = lost or isinstance(error, BrokenPipeError)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return lost
