"""Residuals of a parametric fit, over everything that they should not depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis import notation
from analysis.figures.theme import COLOURS, log_scale, new_figure, step_colour, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.formfit import FormFit

_PANELS = (
    ("params", "parameters N", notation.count),
    ("tokens", "training tokens D", notation.count),
    ("flops", "compute C", notation.flops),
)


def residual_figure(fit: FormFit) -> Figure:
    """Residuals in percent (or nats, for linear residuals) against N, D and C, and against normal quantiles."""
    scale, unit = (100.0, "residual, %") if fit.objective.space == "log" else (1.0, "residual, nats")
    residuals = fit.residuals * scale
    budgets = _budget_numbers(fit)
    colours = [step_colour(int(i), int(budgets.max()) + 1) for i in budgets]
    with styled():
        figure, grid = new_figure(2, 2, height=4.6, sharey=True)
        every = [axes for row in grid for axes in row]
        for axes, (column, label, write) in zip(every, _PANELS, strict=False):
            values = fit.runs.column(column)
            axes.scatter(values, residuals, s=11, c=colours, linewidths=0)
            log_scale(axes, "x", values, write, most=4)
            axes.set_xlabel(label)
        _quantiles(every[3], residuals, colours)
        for axes in every:
            axes.axhline(0, color=COLOURS["ink"], lw=0.8)
            _delta_lines(axes, fit.delta * scale, residuals)
        for row in grid:
            row[0].set_ylabel(unit)
    return figure


def _budget_numbers(fit: FormFit) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    column = "budget" if "budget" in fit.runs.frame else "flops"
    _, numbers = np.unique(fit.runs.column(column), return_inverse=True)
    return numbers


def _quantiles(axes: Axes, residuals: np.ndarray[tuple[int], np.dtype[np.float64]], colours: list[str]) -> None:
    from scipy.special import ndtri

    order = np.argsort(residuals)
    normal = ndtri((np.arange(len(residuals)) + 0.5) / len(residuals))
    axes.scatter(normal, residuals[order], s=11, c=[colours[i] for i in order], linewidths=0)
    quartiles = np.quantile(residuals, [0.25, 0.75])
    slope = (quartiles[1] - quartiles[0]) / (ndtri(0.75) - ndtri(0.25))
    axes.plot(normal, quartiles.mean() + slope * normal, color=COLOURS["muted"], lw=0.9, ls="--")
    axes.set_xlabel("normal quantile")


def _delta_lines(axes: Axes, delta: float, residuals: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    if 0 < delta < np.abs(residuals).max() * 3:
        for side in (-delta, delta):
            axes.axhline(side, color=COLOURS["muted"], lw=0.6, ls=":")
