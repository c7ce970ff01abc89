"""Exception groups in a log: Python prints them with rules and bars in front of each line, and messages without."""

import re

HEAD = re.compile(r" *[+|] Exception Group Traceback \(most recent call last\):$")
LINE = re.compile(r" +(\||\+-)")  # of a group, as deep as it is nested
LAST = re.compile(r" +\+-{20,}$")  # of a group, or of a group inside another one
BARS = re.compile(r"^[ |+]*(-\+-+ \d+ -+)?")
RAISED = re.compile(r"[A-Za-z_][\w.<>]*(: .*|:?)$")
GROUP = re.compile(r"\(\d+ sub-exceptions?\)$")
MOST = 3  # exceptions that the summary names


def begins_group(text: str) -> bool:
    return HEAD.match(text) is not None


def end_of_group(texts: list[str], start: int) -> int:
    """The number after the last line of the group that begins at `start`.

    The lines of a message have no bars. So it ends with a last rule that no line with a bar follows, else, where the
    log is cut off, with the last line that has one.
    """
    end = start + 1
    for at in range(start + 1, len(texts)):
        if LINE.match(texts[at]):
            end = at + 1
        elif LAST.match(texts[end - 1]) or HEAD.match(texts[at]) or texts[at].startswith(("Traceback ", "error: ")):
            break
    return end


def raised_in_group(texts: list[str]) -> str | None:
    """What the group and the exceptions in it say, in one line; None where the log is cut off before."""
    raised = [text for text in (BARS.sub("", line, count=1) for line in texts if LINE.match(line)) if is_raised(text)]
    groups, single = ([text for text in raised if bool(GROUP.search(text)) == wanted] for wanted in (True, False))
    if not raised:
        return None
    more = [f"and {len(single) - MOST} more"] if len(single) > MOST else []
    return ": ".join(filter(None, (groups[0] if groups else "", "; ".join([*single[:MOST], *more]))))


def is_raised(text: str) -> bool:
    """Whether a line without its bars is the name of an exception, with its message."""
    return RAISED.match(text) is not None and "Traceback (most recent call last):" not in text
