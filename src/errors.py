"""The one error that is the user's to mend."""

_LINE = 2_000  # characters: the longest path that Linux takes, and what is said of it, are mostly shorter


class UserError(Exception):
    """Something in the input, the settings or the folders is wrong, and the user can put it right.

    The message is one or two lines: what is wrong, where (file and row), and what to do. `main` prints it without a
    traceback and ends with exit code 2. Everything else that goes wrong is a defect and keeps its traceback.

    Names and cells of foreign files stand in messages, so whatever could move a terminal's cursor, break the log or
    fill the screen is written as an escape or cut off: two lines of at most 2,000 printable characters each remain.
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
