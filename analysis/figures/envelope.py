"""Approach 1: losses against compute, and their lower envelope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, step_colour, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.envelope import EnvelopeFit

Array = NDArray[np.float64]


def envelope_figure(fit: EnvelopeFit, curves: Sequence[tuple[float, Array, Array]] = ()) -> Figure:
    """Final losses against compute with the envelope's points and L*(C), over training curves where there are any.

    Args:
        fit: Approach 1.
        curves: For each run N, FLOPs and smoothed training losses along it.
    """
    runs = fit.runs
    sizes = np.sort(runs.frame["params"].unique())
    with styled():
        figure, grid = new_figure(height=3.7)
        axes = grid[0][0]
        floor = min(float(runs.frame["loss"].min()), float(fit.losses.min()))
        ceiling = float(runs.frame["loss"].max()) * 1.15
        for params, flops, losses in curves:
            place = int(np.searchsorted(sizes, params))
            shown = losses <= ceiling
            axes.plot(
                flops[shown],
                losses[shown],
                color=step_colour(min(place, len(sizes) - 1), len(sizes)),
                lw=0.7,
                alpha=0.7,
            )
        axes.plot(runs.column("flops"), runs.column("loss"), "o", ms=3, color=COLOURS["muted"], mew=0, label="runs")
        grid_flops = np.geomspace(float(fit.flops.min()), float(fit.flops.max()), 100)
        axes.plot(grid_flops, [fit.frontier.at(c) for c in grid_flops], color=COLOURS["ink"], lw=1.2, label="L*(C)")
        hull = fit.on_hull
        diamond: dict[str, Any] = {"color": COLOURS["orange"], "marker": "D", "ms": 5.5, "ls": ""}
        axes.plot(fit.flops[hull], fit.losses[hull], label="envelope, on the convex hull", **diamond)
        if (~hull).any():
            label = "lowest of its budget, above the hull"
            axes.plot(fit.flops[~hull], fit.losses[~hull], mfc="none", label=label, **diamond)
        log_scale(
            axes,
            "x",
            np.concatenate([runs.column("flops"), *(f[losses <= ceiling] for _, f, losses in curves)]),
            notation.flops,
        )
        axes.set(
            xlabel="training compute C, FLOPs",
            ylabel="loss, nats per token",
            ylim=(floor - 0.03 * (ceiling - floor), ceiling),
        )
        legend_below(figure, axes, columns=2)
    return figure
