"""Figures in one style, as SVG for a page, whose text has the page's colour, and as PNG.

    def plot(axes):
        axes.plot(epochs, accuracy, label="validation")
        axes.set(xlabel="epoch", ylabel="accuracy (%)")
        axes.legend()

    figure = draw("accuracy", "Validation accuracy by epoch.", plot)

Colours of categories are those of Okabe and Ito (2008), which colour-blind people can tell apart; maps of values take
viridis or cividis. matplotlib is imported when the first figure is drawn, and without pyplot: nothing stays open.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, GRAY = COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a8a8a",
)  # fmt: skip
SIZE = (5.6, 3.5)  # inches; in the page 403 units wide, so that text of 10 units is legible on a screen of 390 pixels
_DPI = 150  # of the PNG
# Text, axes and ticks are drawn in a colour that nothing else has. In the SVG it becomes the page's text colour.
_FOREGROUND = "#010203"


@dataclass(frozen=True)
class Figure:
    """A drawn figure. name: of figures/<name>.png; caption: what it shows, also for those who cannot see it.

    inches: the width that it was drawn with.
    """

    name: str
    caption: str
    svg: str
    png: bytes
    inches: float

    @property
    def wide(self) -> bool:
        """Whether it takes the page's whole width; a wide figure scrolls in its box on a small screen."""
        return self.inches > 1.2 * SIZE[0]

    @property
    def least_width(self) -> int:
        """In the page, in CSS pixels."""
        return round(68 * self.inches) if self.wide else 320

    @property
    def most_width(self) -> int:
        """In the page, in CSS pixels."""
        return round(125 * self.inches)


def draw(
    name: str, caption: str, plot: Callable, size: tuple[float, float] = SIZE, grid: tuple[int, int] = (1, 1)
) -> Figure:
    """A figure that `plot` draws on axes: on one, or with grid=(rows, columns) on an array (rows, columns) of them.

    size: width and height in inches. Wider figures than SIZE scroll in their box on a small screen.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(_style() | {"svg.hashsalt": name}):
        canvas = Canvas(figsize=size, layout="constrained")
        axes = canvas.subplots(*grid, squeeze=False)
        plot(axes if grid != (1, 1) else axes[0, 0])
        svg, png = io.StringIO(), io.BytesIO()
        canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        canvas.savefig(png, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return Figure(name, caption, _for_page(svg.getvalue()), png.getvalue(), size[0])


def bars(axes, names: Sequence[str], values: Sequence[float], labels: Sequence[str], **more) -> None:
    """Horizontal bars from top to bottom, each with its label at its end. more: for `axes.barh`, such as color."""
    drawn = axes.barh(names, values, **{"color": BLUE, "height": 0.7} | more)
    axes.bar_label(drawn, labels, padding=3)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xmargin(0.2)  # room for the labels


def heat_map(axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], texts: np.ndarray) -> None:
    """A matrix in the colours of cividis, with a text in each cell. values and texts (str): (rows, columns)."""
    axes.imshow(values, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), text in np.ndenumerate(texts):
        colour = "#000000" if values[row, column] > middle else "#ffffff"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)


def _style() -> dict:
    from matplotlib import cycler

    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    return dict.fromkeys(coloured, _FOREGROUND) | {
        "axes.prop_cycle": cycler(linestyle=["-", "--", ":"]) * cycler(color=COLOURS),
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "font.family": "sans-serif",
        "font.size": 10,
        "grid.alpha": 0.15,
        "image.cmap": "viridis",
        "legend.frameon": False,
        "legend.fontsize": 9,
        "svg.fonttype": "none",
        "text.parse_math": False,  # a name may contain a dollar sign
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
    }


def _for_page(svg: str) -> str:
    """The <svg> element alone, in the page's text colour and scaled by CSS; only ids that it refers to stay."""
    start, rest = svg[svg.index("<svg") :].split(">", 1)
    start = re.sub(r' (width|height|xmlns:xlink)="[^"]*"', "", start)
    # In the text of an element "<" is written as &lt;, so this finds elements alone.
    rest = re.sub(r'<g id="[^"]*"', "<g", rest).replace(_FOREGROUND, "currentColor")
    return f"{start}>{rest}".replace(BLUE, f"var(--blue, {BLUE})")  # lighter on a dark page
