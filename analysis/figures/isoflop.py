"""IsoFLOP curves: seed-averaged losses against size at each budget, their parabolas and minima."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, step_colour, styled
from analysis.minima import CurveMinimum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN = 200


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A run or point that is shown but not fitted.

    Attributes:
        name: Its `run_id`, or N and D.
        budget: C.
        size: Its N (or D, as the curves).
        loss: Its loss; None where it has none, then it is shown at the top.
        reason: Why.
    """

    name: str
    budget: float
    size: float
    loss: float | None
    reason: str


def isoflop_figure(minima: Sequence[CurveMinimum], left_out: Sequence[LeftOut] = ()) -> Figure:
    """Losses against N (or D) on every curve: means with noise bars, parabolas, and minima with their intervals.

    Args:
        minima: One per budget.
        left_out: Runs drawn hollow, or as crosses at the top where they have no loss.
    """
    variable = minima[0].curve.variable
    budgets = [minimum.budget for minimum in minima]
    with styled():
        figure, grid = new_figure(height=3.7)
        axes = grid[0][0]
        for index, minimum in enumerate(minima):
            _curve(axes, minimum, step_colour(index, len(minima)))
        for run in left_out:
            colour = step_colour(budgets.index(run.budget), len(budgets)) if run.budget in budgets else COLOURS["muted"]
            _excluded(axes, run, colour)
        sizes = [np.exp(m.curve.x) for m in minima] + [np.array([run.size]) for run in left_out]
        log_scale(axes, "x", np.concatenate(sizes), notation.count)
        axes.set(xlabel=_LABELS[variable], ylabel="loss, nats per token")
        legend_below(figure, axes, columns=2)
    return figure


_LABELS = {"params": "parameters N", "tokens": "training tokens D"}


def _curve(axes: Axes, minimum: CurveMinimum, colour: str) -> None:
    curve = minimum.curve
    sizes = np.exp(curve.x)
    spread = None if minimum.noise is None else minimum.noise.sd / np.sqrt(curve.replicates)
    axes.errorbar(
        sizes,
        curve.loss,
        yerr=spread,
        fmt="o",
        ms=4,
        color=colour,
        elinewidth=1,
        capsize=0,
        label=_label(minimum),
        zorder=3,
    )
    if minimum.smooth is not None:
        x = np.linspace(curve.x.min(), curve.x.max(), _DRAWN)
        axes.plot(np.exp(x), minimum.smooth(x), color=colour, ls="-" if minimum.usable else ":", lw=1.2, zorder=2)
    place = minimum.params if curve.variable == "params" else minimum.tokens
    span = minimum.params_interval if curve.variable == "params" else minimum.tokens_interval
    if place is None or minimum.loss is None:
        return
    if span is not None:
        low = sizes.min() if span.low is None else max(span.low, sizes.min())
        high = sizes.max() if span.high is None else min(span.high, sizes.max())
        axes.plot([low, high], [minimum.loss] * 2, color=colour, lw=4, alpha=0.35, solid_capstyle="butt", zorder=2)
    axes.plot([place], [minimum.loss], marker="D", ms=4.5, mfc=COLOURS["paper"], mec=COLOURS["ink"], mew=1.3, zorder=4)


def _label(minimum: CurveMinimum) -> str:
    place = minimum.params if minimum.curve.variable == "params" else minimum.tokens
    symbol = "N*" if minimum.curve.variable == "params" else "D*"
    found = "no minimum inside" if place is None else f"{symbol} {notation.count(place)}"
    return f"{notation.flops(minimum.budget)} FLOPs, {found}"


def _excluded(axes: Axes, run: LeftOut, colour: str) -> None:
    if run.loss is None or not np.isfinite(run.loss):
        axes.plot(
            [run.size],
            [0.985],
            marker="x",
            ms=6,
            mew=1.4,
            color=colour,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            zorder=5,
        )
    else:
        axes.plot([run.size], [run.loss], marker="o", ms=4.5, mfc="none", mec=colour, zorder=3)
    axes.annotate(
        run.reason.split(":")[0][:24],
        (run.size, 0.985 if run.loss is None else run.loss),
        xycoords=axes.get_xaxis_transform() if run.loss is None else "data",
        xytext=(6, -3),
        textcoords="offset points",
        fontsize=7,
        color=COLOURS["muted"],
    )
