"""What figures of compute draw: points with intervals and lines with bands, by the approach that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.figures.theme import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Band:
    """A quantity against compute.

    Attributes:
        name: What it is, for the legend.
        colour: A name in `theme.COLOURS`.
        flops: C, shape (n,).
        values: The quantity, shape (n,).
        low: Lower ends of its interval, shape (n,), NaN where open; None for a line without a band.
        high: Upper ends.
        dashes: matplotlib's line style.
    """

    name: str
    colour: str
    flops: Array
    values: Array
    low: Array | None = None
    high: Array | None = None
    dashes: str = "-"


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Optima of single budgets.

    Attributes:
        name: For the legend.
        colour: A name in `theme.COLOURS`.
        flops: C, shape (k,).
        values: Shape (k,).
        low: Lower ends of intervals, shape (k,), NaN where open.
        high: Upper ends.
        marker: matplotlib's marker.
        hollow: Whether they are drawn open, for what does not enter a fit.
    """

    name: str
    colour: str
    flops: Array
    values: Array
    low: Array | None = None
    high: Array | None = None
    marker: str = "o"
    hollow: bool = False


def draw_band(axes: Axes, band: Band) -> None:
    """The line, and its band where both ends are known."""
    colour = COLOURS[band.colour]
    if band.low is not None and band.high is not None:
        known = np.isfinite(band.low) & np.isfinite(band.high)
        if known.any():
            axes.fill_between(band.flops[known], band.low[known], band.high[known], color=colour, alpha=0.16, lw=0)
    axes.plot(
        band.flops, band.values, color=colour, ls=band.dashes, lw=1.5 if band.low is not None else 1.1, label=band.name
    )


def draw_marks(axes: Axes, marks: Marks) -> None:
    """Points with error bars; an open end has no bar."""
    colour = COLOURS[marks.colour]
    bars = None
    if marks.low is not None and marks.high is not None:
        below, above = marks.values - marks.low, marks.high - marks.values
        bars = np.nan_to_num(np.stack([below, above]), nan=0.0).clip(0)
    face = "none" if marks.hollow else colour
    axes.errorbar(
        marks.flops, marks.values, yerr=bars, fmt=marks.marker, ms=5, color=colour, mfc=face, elinewidth=1.2, capsize=2,
        label=marks.name, zorder=4,
    )  # fmt: skip


def shown_range(bands: list[Band], marks: list[Marks]) -> Array:
    """Values that an axis should span: points and lines in full, bands to ten times beyond what is drawn at most."""
    values = np.concatenate([*(b.values for b in bands), *(m.values for m in marks)])
    pairs = [*((b.low, b.high) for b in bands), *((m.low, m.high) for m in marks)]
    ends = [end for pair in pairs for end in pair if end is not None]
    every = np.concatenate([values, *ends]) if ends else values
    every = every[np.isfinite(every)]
    return np.asarray(every.clip(values.min() / 10, values.max() * 10))
