"""The look that all figures share, without touching matplotlib's global settings or pyplot.

Every colour has a name. A figure is drawn in the colours for white paper; `analysis.figures.svg` then turns them
into CSS variables
of the same names, so that a page shows the figure in its own dark or light colours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

COLOURS = {
    "ink": "#1f2429",
    "muted": "#5c6670",
    "rule": "#d5dbe1",
    "paper": "#fefefe",
    "blue": "#0869b0",
    "orange": "#c25108",
    "green": "#08805c",
    "violet": "#8a4a9e",
    **{
        f"step{i}": value
        for i, value in enumerate(
            (
                "#5b9bd1",
                "#3f88b8",
                "#2b8a93",
                "#1f8b6c",
                "#4c8c3a",
                "#868108",
                "#b3690f",
                "#c24a26",
                "#b02a4b",
                "#7f1d5f",
            )
        )
    },
}
"""Name to colour on white paper, all distinct; `step0` to `step9` go from small budgets to large ones (chosen, with
a contrast of
3:1 at least against white for all but the first)."""

STEPS = sum(name.startswith("step") for name in COLOURS)

WIDTH = 5.4
"""Inches of every figure: its text of 9 points stays readable on a telephone of 400 pixels."""

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.5,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "figure.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "isoflop",
}

_LOCK = threading.RLock()


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's own defaults with our style on top, whatever the user's settings are; put back afterwards."""
    import matplotlib as mpl

    defaults: dict[Any, Any] = {
        key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith(("backend", "interactive"))
    }
    with _LOCK, mpl.rc_context({**defaults, **_STYLE}):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, *, height: float = 3.4, **options: Any
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of the common width with rows of axes; call within `styled()`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options).tolist()


def step_colour(index: int, count: int) -> str:
    """Colour of budget `index` of `count`, spread over the whole scale."""
    place = 0.5 if count == 1 else index / (count - 1)
    return COLOURS[f"step{round(place * (STEPS - 1))}"]


def log_scale(
    axes: Axes,
    which: Literal["x", "y"],
    values: Iterable[float] | Array,
    write: Callable[[float], str],
    *,
    most: int = 6,
) -> None:
    """Make one axis logarithmic over `values` and 4 % beyond, with ticks at round numbers written by `write`.

    Args:
        axes: The axes.
        which: Which of its two axes.
        values: What is shown; only positive finite values count.
        write: Notation of a tick.
        most: Most ticks.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    shown = np.array(list(values), dtype=np.float64)
    shown = shown[np.isfinite(shown) & (shown > 0)]
    low, high = float(shown.min()), float(shown.max())
    if low == high:
        low, high = low / 1.5, high * 1.5
    margin = (high / low) ** 0.04
    low, high = low / margin, high * margin
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis.set_major_locator(FixedLocator(round_ticks(low, high, most)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers in [low, high], at most `most`: every digit, 1-2-5, 1-3, or whole decades, whichever still fits."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for digits in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def legend_below(figure: Figure, axes: Axes, *, columns: int = 3) -> None:
    """All labelled artists of `axes` in one legend under the figure."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, handlelength=1.8, columnspacing=1.2)
