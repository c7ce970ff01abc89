"""Section of a run's report: loss, accuracy, macro-F1 and learning rate by epoch, the members side by side."""

from collections.abc import Iterator

import pandas as pd

from src.report.figures import COLOURS, Figure, draw
from src.report.run_files import RunFiles

_MARKERS = ("", "o", "s", "^")  # of each further seven members
_LEGEND_ROWS = 4  # more members than this have the legend below the axes


def curves_blocks(run: RunFiles) -> list:
    """A figure for each of them, of all members with a history."""
    found = {name: run.history[name] for name in run.members if name in run.history and len(run.history[name])}
    if run.record.get("blend"):
        return []
    if not found:
        return ["No epoch has finished, or no history.csv is here."]
    parts = [
        ("loss", "loss", "train_loss", "valid_loss"),
        ("accuracy", "accuracy (%)", "train_accuracy_percent", "valid_accuracy_percent"),
        ("macro-f1", "macro-F1 (%)", "", "valid_f1_percent"),
        ("learning-rate", "learning rate", "", "lr"),
    ]
    text = (
        "Solid: validation rows, without test-time augmentation. Dashed: training rows, augmented and with dropout. "
        "A dot marks the best epoch."
    )
    blocks: list = [text]
    blocks += [_curves(run, found, name, label, columns) for name, label, *columns in parts if _has(found, columns)]
    return blocks


def _has(found: dict[str, pd.DataFrame], columns: list[str]) -> bool:
    return any(columns[-1] in table for table in found.values())


def _curves(run: RunFiles, found: dict[str, pd.DataFrame], name: str, label: str, columns: list[str]) -> Figure:
    """One line for each member, and a dashed one for its training rows where there is such a column."""
    styles = list(_styled(run, found))
    lines = len({run.without_fold(member) for member in found})

    def plot(axes) -> None:
        for member, table, style in styles:
            if columns[-1] in table:
                (line,) = axes.plot(table["epoch"], table[columns[-1]], label=member, linestyle="-", **style)
                if name == "accuracy" and table[columns[-1]].notna().any():
                    best = table.loc[table[columns[-1]].idxmax()]
                    axes.plot(best["epoch"], best[columns[-1]], "o", color=line.get_color(), markersize=5)
            if columns[0] in table:
                thin = {"linestyle": "--", "linewidth": 1, "alpha": 0.6, "color": style["color"]}
                axes.plot(table["epoch"], table[columns[0]], **thin)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if name == "learning-rate":
            axes.set_yscale("log")
            axes.yaxis.get_major_locator().set_params(subs=(1, 3))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        if lines > _LEGEND_ROWS:
            axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        else:
            axes.legend()

    longest = max(len(table) for table in found.values())
    words = {"lr": "learning rate"}.get(columns[-1], f"{label.split(' (')[0]} of the validation rows")
    caption = f"{words[0].upper()}{words[1:]} by epoch, up to epoch {longest}."
    extra = 0.21 * -(-lines // 2) if lines > _LEGEND_ROWS else 0
    return draw(name, caption, plot, size=(5.6, 3.5 + extra))


def _styled(run: RunFiles, found: dict[str, pd.DataFrame]) -> Iterator[tuple[str, pd.DataFrame, dict]]:
    """Each member with its style: a colour, and a marker where the colours have all been used.

    The folds of a member have one style, and one line in the legend.
    """
    numbers: dict[str, int] = {}
    for member, table in found.items():
        name = run.without_fold(member)
        is_first = name not in numbers
        turn, place = divmod(numbers.setdefault(name, len(numbers)), len(COLOURS))
        marker = _MARKERS[turn % len(_MARKERS)] or ("o" if len(table) == 1 else "")
        label = name if is_first else "_hidden"  # matplotlib leaves out labels that begin with an underscore
        yield label, table, {"color": COLOURS[place], "linewidth": 1.5, "marker": marker, "markersize": 3}
