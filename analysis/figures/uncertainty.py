"""How well a parametric fit is known: its bootstrap, its profiles, and what the choice of delta does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.fitting.bootstrap import Bootstrap
    from analysis.fitting.profile import Profile
    from analysis.report.sensitivity import DeltaFit

Array = NDArray[np.float64]

POINTS = 300
"""Resamples drawn in each panel of pairs (chosen: the contours are of all of them)."""

HIGHEST_RISE = 4.0
"""Standard errors up to which profiles are drawn (chosen)."""

_MASSES = (0.9, 0.5)
_BINS = 40


def bootstrap_pairs_figure(boot: Bootstrap, names: Sequence[str]) -> Figure:
    """Every pair of coefficients over the resamples, with contours around half and nine tenths of them.

    Args:
        boot: The bootstrap.
        names: Two to five coefficients; those that are positive and spread over a factor of three are shown as log10.
    """
    samples = {name: _shown(boot.sample(name), name) for name in names}
    labels, values = zip(*samples.values(), strict=True)
    size = len(names) - 1
    with styled():
        figure, grid = new_figure(size, size, height=5.2, sharex="col", sharey="row")
        for row in range(size):
            for column in range(size):
                axes = grid[row][column]
                if column > row:
                    axes.remove()
                    continue
                _pair(axes, values[column], values[row + 1])
                if row == size - 1:
                    axes.set_xlabel(labels[column])
                if column == 0:
                    axes.set_ylabel(labels[row + 1])
    return figure


def _shown(sample: Array, name: str) -> tuple[str, Array]:
    wide = bool((sample > 0).all()) and np.quantile(sample, 0.95) > 3 * np.quantile(sample, 0.05)
    return (f"log10 {name}", np.log10(sample)) if wide else (name, sample)


def _pair(axes: Axes, x: Array, y: Array) -> None:
    """One panel; the points are one path, since a page with thousands of separate marks is slow."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.ticker import MaxNLocator

    spans = [np.quantile(values, [0.003, 0.997]) for values in (x, y)]
    (x0, x1), (y0, y1) = ((low - 0.05 * (high - low), high + 0.05 * (high - low)) for low, high in spans)
    if not (x1 > x0 and y1 > y0):
        x0, x1, y0, y1 = x[0] - 1, x[0] + 1, y[0] - 1, y[0] + 1
    axes.set(xlim=(x0, x1), ylim=(y0, y1))
    dots = np.repeat(np.stack([x[:POINTS], y[:POINTS]], axis=1), 2, axis=0)
    dots[1::2, 0] += 1e-3 * (x1 - x0)  # a line of no length is not drawn
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=np.uint8), len(dots) // 2)
    axes.add_patch(PathPatch(Path(dots, codes), ec=COLOURS["blue"], lw=1.6, capstyle="round", fill=False, alpha=0.5))
    density, levels, centres = _density(x, y, (x0, x1), (y0, y1))
    if len(levels):
        axes.contour(*centres, density, levels=levels, colors=COLOURS["ink"], linewidths=(0.6, 1.0))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3))


def _density(
    x: Array, y: Array, x_span: tuple[float, float], y_span: tuple[float, float]
) -> tuple[Array, Array, tuple[Array, Array]]:
    """A smoothed histogram, shape (bins, bins), its levels around `_MASSES` of the sample, and the bins' centres."""
    from scipy.ndimage import gaussian_filter

    counts, x_edges, y_edges = np.histogram2d(x, y, bins=_BINS, range=[x_span, y_span])
    density = gaussian_filter(counts, 1.5).T
    falling = np.sort(density.ravel())[::-1]
    share = np.cumsum(falling) / max(falling.sum(), 1e-300)
    levels = np.unique([falling[np.searchsorted(share, mass)] for mass in _MASSES])
    return density, levels[levels > 0], ((x_edges[1:] + x_edges[:-1]) / 2, (y_edges[1:] + y_edges[:-1]) / 2)


def profile_figure(profiles: Mapping[str, Profile], estimates: Mapping[str, float]) -> Figure:
    """Rise of the objective, in standard errors, against a coefficient with all others fitted again at each of its values.

    Args:
        profiles: By coefficient; their intervals are shaded.
        estimates: Values of the fit.
    """
    with styled():
        figure, grid = new_figure(1, len(profiles), height=2.3, sharey=True)
        for axes, (name, profile) in zip(grid[0], profiles.items(), strict=True):
            near = np.abs(profile.z) <= HIGHEST_RISE
            axes.plot(profile.values[near], np.abs(profile.z[near]), "o-", ms=2.5, lw=1.2, color=COLOURS["green"])
            axes.axvline(estimates[name], color=COLOURS["ink"], lw=0.8)
            low, high = axes.get_xlim()
            span = profile.interval
            ends = (low if span.low is None else span.low, high if span.high is None else span.high)
            axes.axvspan(*ends, color=COLOURS["green"], alpha=0.14, lw=0, zorder=0)
            axes.set(xlabel=name, xlim=(low, high), ylim=(0, HIGHEST_RISE))
            axes.locator_params(axis="x", nbins=4)
        grid[0][0].set_ylabel("rise, standard errors")
    return figure


def delta_figure(fits: Sequence[DeltaFit], used: float | None, quantities: Mapping[str, str]) -> Figure:
    """What the fit says against Huber's delta.

    Args:
        fits: Refits over a range of delta.
        used: The delta of the fit itself.
        quantities: Keys of `DeltaFit.values` with their axis labels, one panel each.
    """
    deltas = np.array([fit.delta for fit in fits])
    with styled():
        figure, grid = new_figure(1, len(quantities), height=2.4)
        for axes, (key, label) in zip(grid[0], quantities.items(), strict=True):
            axes.plot(deltas, [fit.values[key] for fit in fits], "o-", ms=3, color=COLOURS["green"])
            if used is not None:
                axes.axvline(used, color=COLOURS["ink"], lw=0.8, label="δ of this fit")
            log_scale(axes, "x", deltas, lambda value: f"{value:.0e}", most=3)
            axes.set(xlabel="δ", title=label)
            axes.locator_params(axis="y", nbins=4)
        legend_below(figure, grid[0][0])
    return figure
