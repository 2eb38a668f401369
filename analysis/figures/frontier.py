"""N*(C), D*(C), L*(C) and tokens per parameter against compute, by every approach, with bands and known laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from analysis import notation
from analysis.figures.lines import Band, Marks, draw_band, draw_marks, shown_range
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def frontier_figure(
    bands: Sequence[Band],
    marks: Sequence[Marks] = (),
    *,
    label: str,
    write: Callable[[float], str] = notation.count,
    fitted_to: float | None = None,
    logarithmic: bool = True,
) -> Figure:
    """A quantity of compute-optimal models against compute.

    Args:
        bands: Lines of approaches and laws.
        marks: Optima of single budgets.
        label: The quantity, for the vertical axis.
        write: Its notation.
        fitted_to: Largest C that was fitted; everything beyond it is marked as extrapolation.
        logarithmic: Whether the vertical axis is logarithmic.
    """
    with styled():
        figure, grid = new_figure(height=3.7)
        axes = grid[0][0]
        for band in bands:
            draw_band(axes, band)
        for points in marks:
            draw_marks(axes, points)
        flops = [float(c) for every in (*(b.flops for b in bands), *(m.flops for m in marks)) for c in every]
        log_scale(axes, "x", flops, notation.flops)
        values = shown_range([*bands], [*marks])
        if logarithmic:
            log_scale(axes, "y", values, write)
        if fitted_to is not None and fitted_to < max(flops):
            axes.axvspan(fitted_to, axes.get_xlim()[1], color=COLOURS["rule"], alpha=0.35, lw=0, zorder=0)
            note: dict[str, Any] = {"fontsize": 7.5, "color": COLOURS["muted"], "textcoords": "offset points"}
            axes.annotate(
                "extrapolation", (fitted_to, 1.0), xytext=(4, -10), xycoords=("data", "axes fraction"), **note
            )
        axes.set(xlabel="training compute C, FLOPs", ylabel=label)
        legend_below(figure, axes, columns=2)
    return figure
