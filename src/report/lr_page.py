"""The page that `lr-find` makes."""

from collections.abc import Mapping

import numpy as np

from src.report.figures import BLUE, GRAY, ORANGE, VERMILLION, Figure, draw
from src.report.page import Notice, Page, Section, Table, Terms

TERMS = {
    "range test": "the learning rate rises exponentially from step to step, from so low that nothing is learnt until "
    "the loss explodes (Smith 2017). The network is discarded.",
    "smoothed loss": "the exponential moving average of the batches' losses, over about ten of them, without a bias to "
    "the start. It lags by as many steps.",
    "steepest": "where the smoothed loss falls most from one step to the next: there the rate does most.",
    "a tenth of the lowest": "at the lowest loss the rate is so high that the loss is about to rise; a tenth of it is "
    "at a safe distance.",
    "with a schedule": "lr is the peak of one_cycle, and of the others the rate after the warm-up.",
}


def lr_page(title: str, words: str, curve: Figure, rows: Mapping[str, str], settings: Mapping[str, str]) -> Page:
    """The page: the sentence with the suggestion, the curve, its figures, and the settings that were tested."""
    tables = [Table(("measured", "value"), [*rows.items()]), Table(("tested with", "value"), [*settings.items()])]
    notice = Notice("This is one network with one seed: another seed gives another suggestion.")
    words = f"{words[0].upper()}{words[1:]}."
    return Page(title, words, [Section("Loss by learning rate", [curve, notice, *tables, Terms(TERMS)])])


def lr_curve(curve: tuple[np.ndarray, np.ndarray, np.ndarray], marks: Mapping[str, float]) -> Figure:
    """Rates, losses and smoothed losses, float (s,) each, with named rates as vertical lines."""
    lrs, losses, smoothed = curve
    low, start = float(losses.min()), float(losses[:10].mean())
    high = min(float(losses.max()), start + 1.5 * (start - low))  # so that the fall is seen, not the explosion

    def plot(axes):
        axes.plot(lrs, losses, ".", color=GRAY, markersize=3, label="loss of a batch")
        axes.plot(lrs, smoothed, color=BLUE, label="smoothed")
        styles = (VERMILLION, "-"), (ORANGE, "--"), (GRAY, ":")
        for (name, lr), (colour, style) in zip(marks.items(), styles, strict=False):
            axes.axvline(lr, color=colour, linestyle=style, label=f"{name}: {lr:.2g}")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.set(xlabel="learning rate", ylabel="training loss")
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.3), ncols=2)

    return draw("lr-find", "Training loss while the learning rate rises.", plot, (5.6, 4.2))
