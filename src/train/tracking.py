"""The log, the line of an epoch, the progress bar and history.csv."""

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from src.files import replacing

SHARES = ("train_accuracy", "valid_accuracy", "valid_f1")  # 0-1 in a row of the history
PERCENT = {name: f"{name}_percent" for name in SHARES}  # the columns of history.csv for them


class Log:
    """Prints each line, after `prefix`, and appends it to log.txt. A full disk or closed terminal loses only lines."""

    def __init__(self, path: Path, prefix: str = ""):
        self.file, self.prefix = path.open("ab", buffering=0), prefix

    def __call__(self, line: str = "") -> None:
        line = f"{self.prefix}{line}\n".encode("utf-8", "backslashreplace").decode()  # paths need not be UTF-8
        with contextlib.suppress(OSError):
            self.file.write(line.encode())
        with contextlib.suppress(OSError, ValueError):  # the terminal may have gone
            tqdm.write(line, file=sys.stdout, end="")  # does not tear a progress bar
            sys.stdout.flush()

    def close(self) -> None:
        self.file.close()


def progress_bar(steps: Iterable, total: int, title: str, first: int = 0) -> Iterable:
    """`steps` with a progress bar, on a terminal only. first: steps that are done already."""
    return tqdm(steps, total=total, initial=first, desc=title, leave=False, disable=not sys.stderr.isatty())


def epoch_line(row: dict, epochs: int, is_best: bool) -> str:
    """One row of the history as a line for people."""
    return (
        f"  epoch {row['epoch']:3d}/{epochs}  lr {row['lr']:.1e}"
        f"  train {row['train_loss']:.4f} {100 * row['train_accuracy']:6.2f} %"
        f"  valid {row['valid_loss']:.4f} {100 * row['valid_accuracy']:6.2f} %  F1 {100 * row['valid_f1']:.2f} %"
        f"  {row['seconds']:6.1f} s{'  best' if is_best else ''}"
    )


def write_history(path: Path, rows: list[dict]) -> None:
    """Writes history.csv, one row an epoch, under a temporary name first. Shares (0-1) become per cent."""
    table = pd.DataFrame(rows)
    table[[*PERCENT]] *= 100
    with replacing(path) as temporary:
        table.rename(columns=PERCENT).to_csv(temporary, index=False, float_format="%.6g")
