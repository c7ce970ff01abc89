"""The log, the line of an epoch, the progress bar and history.csv."""

import contextlib
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from src.files import replacing, try_lock
from src.terminal import WIDTH, discard_unread, wrap

SHARES = ("train_accuracy", "valid_accuracy", "valid_f1")  # 0-1 in a row of the history
PERCENT = {name: f"{name}_percent" for name in SHARES}  # the columns of history.csv for them


class Log:
    """Prints each message, after `prefix`, in lines of 79 columns, and appends it to log.txt, each line with its time.

    A full disk or a closed terminal loses only lines. While it is open, log.txt is locked: so another start of the same
    run knows that this one is at work.
    """

    def __init__(self, path: Path, prefix: str = ""):
        self.file, self.prefix, self.columns = path.open("ab", buffering=0), prefix, WIDTH - len(prefix)
        try_lock(self.file, shared=True)

    def __call__(self, message: str = "") -> None:
        self.to_file(message)
        lines = wrap(message, self.columns).split("\n")
        try:
            # tqdm does not tear a progress bar.
            tqdm.write("".join(f"{self.prefix}{line}\n" for line in lines), file=sys.stdout, end="")
            sys.stdout.flush()
        except (OSError, ValueError, AttributeError):  # the terminal may have gone, or may never have been there
            discard_unread()

    def to_file(self, message: str) -> None:
        """Appends to log.txt alone: what the terminal gets to know in another way."""
        now = time.strftime("%H:%M:%S")
        text = "".join(f"{now} {self.prefix}{line}\n" for line in message.split("\n"))
        with contextlib.suppress(OSError):
            self.file.write(text.encode("utf-8", "backslashreplace"))  # paths need not be UTF-8

    def close(self) -> None:
        self.file.close()


def progress_bar(steps: Iterable, total: int, title: str, first: int = 0) -> Iterable:
    """`steps` with a progress bar, on a terminal only. first: steps that are done already."""
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(steps, total=total, initial=first, desc=title, leave=False, disable=not on_terminal)


def epoch_line(row: dict, epochs: int, is_best: bool, columns: int = WIDTH) -> str:
    """One row of the history as a line for people, with the word "epoch" if it fits; shares are in per cent."""
    parts = [
        f"{row['epoch']:{len(str(epochs))}d}/{epochs}",
        f"lr {row['lr']:.1e}".replace("e-0", "e-"),
        f"train {short_loss(row['train_loss'])} {short_percent(row['train_accuracy'], 1)}",
        *validation_parts(row),
        f"{row['seconds']:4.{0 if row['seconds'] >= 99.95 else 1}f} s",
    ]
    line, best = " ".join(parts), " best" if is_best else ""
    return f"epoch {line}{best}" if len(f"epoch {line} best") <= columns else f"{line}{best}"


def validation_parts(row: dict) -> list[str]:
    """What the validation rows say; nothing where there are none."""
    if math.isnan(row["valid_accuracy"]):
        return []
    valid = f"valid {short_loss(row['valid_loss'])} {short_percent(row['valid_accuracy'], 2)}"
    return [valid, f"F1 {short_percent(row['valid_f1'], 1)}"]


def short_loss(loss: float) -> str:
    """A loss in five characters, as long as it is below 10,000."""
    return f"{loss:.3f}" if loss < 9.9995 else f"{loss:5.4g}"


def short_percent(share: float, digits: int) -> str:
    """A share of 1 in per cent. The whole has no digits after the point, so that all have one width."""
    text = f"{100 * share:.{digits}f}"
    return f"{text if len(text) <= 3 + digits else '100':>{3 + digits}}%"


def write_history(path: Path, rows: list[dict]) -> None:
    """Writes history.csv, one row an epoch, under a temporary name first. Shares (0-1) become per cent."""
    table = pd.DataFrame(rows)
    table[[*PERCENT]] *= 100
    with replacing(path) as temporary:
        table.rename(columns=PERCENT).to_csv(temporary, index=False, float_format="%.6g")
