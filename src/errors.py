"""The error that a user can correct."""

_LINE = 2_000  # characters; most paths on Linux are shorter


class UserError(Exception):
    """The input, the settings or the folders are wrong, and the user can correct them.

    The message is one or two lines: what is wrong, where (file and row), and what to do. `main` prints it without a
    traceback and exits with code 2. Every other exception is a defect and keeps its traceback.

    Messages quote names and cells of the user's files. So characters that would move a terminal's cursor or break the
    log are written as escapes, and each of the two lines is cut after 2,000 characters.
    """

    def __init__(self, message: str) -> None:
        what, newline, advice = message.rpartition("\n")
        super().__init__(_printable(what) + newline + _printable(advice))


def _printable(text: str) -> str:
    shown = text if len(text) <= _LINE else f"{text[:_LINE]}…"
    if shown.isprintable():
        return shown
    escaped = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in shown)
    return escaped if len(escaped) <= _LINE else f"{escaped[:_LINE]}…"
