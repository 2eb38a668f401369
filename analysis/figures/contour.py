"""The fitted surface L(N, D): contours of equal loss, the efficient frontier through them, and the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, step_colour, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.fitting.optimum import Optimum
    from analysis.formfit import FormFit

LEVELS = 9
"""Contours of equal loss (chosen)."""

_GRID = 120


def contour_figure(fit: FormFit, frontier: Sequence[Optimum]) -> Figure:
    """Contours of the fitted loss over N and D, the efficient frontier and the runs.

    Args:
        fit: A form of `params` and `tokens`.
        frontier: Its optima by rising compute; those beyond the runs are drawn dashed.
    """
    frame = fit.runs.frame
    inside = [best for best in frontier if (best.extrapolation or 0.0) <= 1.05]
    params = np.array([*frame["params"], *(best.params for best in frontier)], dtype=np.float64)
    tokens = np.array([*frame["tokens"], *(best.tokens for best in frontier)], dtype=np.float64)
    with styled():
        figure, grid = new_figure(height=4.0)
        axes = grid[0][0]
        log_scale(axes, "x", params, notation.count)
        log_scale(axes, "y", tokens, notation.count)
        _contours(axes, fit)
        colours = _budget_colours(fit)
        axes.scatter(
            frame["params"], frame["tokens"], s=13, c=colours, linewidths=0, zorder=3, label="runs, by compute"
        )
        line: dict[str, Any] = {"color": COLOURS["ink"], "zorder": 4}
        N, D = ([getattr(best, name) for best in frontier] for name in ("params", "tokens"))
        axes.plot(N, D, ls="--", lw=1.1, label="efficient frontier, extrapolated", **line)
        axes.plot(N[: len(inside)], D[: len(inside)], lw=1.8, label="efficient frontier", **line)
        axes.grid(visible=False)
        axes.set(xlabel="parameters N", ylabel="training tokens D")
        legend_below(figure, axes, columns=2)
    return figure


def _contours(axes: Axes, fit: FormFit) -> None:
    N = np.geomspace(*axes.get_xlim(), _GRID)
    D = np.geomspace(*axes.get_ylim(), _GRID)
    loss = fit.predict(N[None, :], D[:, None])
    levels = np.quantile(loss, np.linspace(0, 1, LEVELS + 2)[1:-1])
    drawn = axes.contour(N, D, loss, levels=np.unique(levels), colors=COLOURS["muted"], linewidths=0.7)
    axes.clabel(drawn, fmt=notation.loss, fontsize=7)


def _budget_colours(fit: FormFit) -> list[str]:
    column = "budget" if "budget" in fit.runs.frame else "flops"
    budgets, numbers = np.unique(fit.runs.column(column), return_inverse=True)
    return [step_colour(int(i), len(budgets)) for i in numbers]
