"""The loss of compute-optimal models: L*(C) = E + K C^-γ through the minima, and its prediction with an interval.

From a decade or two E, K and γ are hardly told apart, so that a covariance at the optimum says little. The interval
is the range of predictions over every (E, K, γ) that the minima allow (a profile likelihood), with E >= 0 and γ in
[.01, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.results import Interval
from analysis.table import Array
from analysis.trend import t_quantile

GAMMA_RANGE = (0.01, 1.0)
"""Chosen: published exponents of compute lie between .05 and .2, and nothing outside this range is a scaling law."""

_STEPS = 129


@dataclass(frozen=True, kw_only=True)
class LossFrontier:
    """L*(C) through k minima.

    Attributes:
        flops: C of the minima, shape (k,).
        losses: Their losses, shape (k,).
        variances: Of the losses, up to `dispersion`, shape (k,).
        floor: E at the best fit.
        prefactor: K, with C in units of the largest C fitted.
        gamma: γ at the best fit.
        dispersion: Factor on `variances`, at least 1; larger where the minima scatter more than their own errors say.
        degrees: Degrees of freedom of the t quantile; 0 where there is no measure of noise at all.
    """

    flops: Array
    losses: Array
    variances: Array
    floor: float
    prefactor: float
    gamma: float
    dispersion: float
    degrees: float

    def at(self, flops: float) -> float:
        """L*(C)."""
        return float(self.floor + self.prefactor * (flops / self.flops.max()) ** -self.gamma)

    def interval_at(self, flops: float, level: float) -> Interval:
        """Profile interval of L*(C): the extremes over all (E, K, γ) within the threshold."""
        if self.degrees <= 0:
            return Interval(low=None, high=None, level=level, method="profile")

        def misfit(log_gamma: Array) -> Array:
            return _lines(self, np.exp(log_gamma), flops).misfit

        best = np.log(self.gamma)
        lowest = misfit(np.array([best]))[0]
        threshold = lowest + self.dispersion * t_quantile(self.degrees, level) ** 2
        low, high = (_boundary(misfit, best, end, threshold) for end in np.log(GAMMA_RANGE))
        lines = _lines(self, np.exp(np.append(np.linspace(low, high, _STEPS), best)), flops)
        ends = lines.extremes(threshold)
        return Interval(low=float(np.nanmin(ends)), high=float(np.nanmax(ends)), level=level, method="profile")


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """Weighted lines E + K x with E >= 0 at many γ, and their predictions at one C; arrays of shape (m,).

    `free_*` are of the line with E unbounded, `pinned_*` of the line through E = 0; `misfit` is of the better allowed
    one.
    """

    free_prediction: Array
    free_variance: Array
    free_misfit: Array
    floor: Array
    floor_covariance: Array
    pinned_prediction: Array
    pinned_variance: Array
    pinned_misfit: Array

    @property
    def misfit(self) -> Array:
        return np.where(self.floor >= 0, self.free_misfit, self.pinned_misfit)

    def extremes(self, threshold: float) -> Array:
        """Smallest and largest prediction within the threshold at each γ, NaN where there is none; shape (2m,)."""
        room = np.sqrt(np.maximum(threshold - self.free_misfit, 0))
        pinned_room = np.sqrt(np.maximum(threshold - self.pinned_misfit, 0) * self.pinned_variance)
        root = np.sqrt(self.free_variance)
        found = []
        for sign in (-1.0, 1.0):
            floor = self.floor + sign * room * self.floor_covariance / root
            free = np.where(
                (self.free_misfit <= threshold) & (floor >= 0), self.free_prediction + sign * room * root, np.nan
            )
            pinned = np.where(self.pinned_misfit <= threshold, self.pinned_prediction + sign * pinned_room, np.nan)
            found.append(np.where(np.isnan(free), pinned, free))
        return np.concatenate(found)


def fit_frontier(flops: Array, losses: Array, *, variances: Array | None, degrees: float) -> LossFrontier:
    """Fit L*(C) = E + K C^-γ by weighted least squares.

    Args:
        flops: C of each minimum, shape (k,), k >= 2.
        losses: Their losses, shape (k,).
        variances: Variances of the losses, shape (k,); None for unknown and equal.
        degrees: Degrees of freedom that the variances were estimated with.

    Returns:
        The fit; where the losses do not fall with C a constant, whose interval is open; with two losses E = 0, which they
        cannot tell.
    """
    own = np.ones_like(losses) if variances is None else np.maximum(variances, (1e-12 * losses) ** 2)
    blank = LossFrontier(
        flops=flops, losses=losses, variances=own, floor=float(np.average(losses, weights=1 / own)), prefactor=0.0,
        gamma=GAMMA_RANGE[0], dispersion=1.0, degrees=0.0,
    )  # fmt: skip
    if np.polyfit(np.log(flops), losses, 1)[0] >= 0:
        return blank
    top, two = float(flops.max()), len(losses) == 2

    def misfit_of(lines: _Lines) -> Array:
        return lines.pinned_misfit if two else lines.misfit  # a free line passes through two losses whatever its γ

    gamma = float(np.exp(_closed_in(lambda g: misfit_of(_lines(blank, np.exp(g), top)), *np.log(GAMMA_RANGE))))
    lines = _lines(blank, np.array([gamma]), top)
    floor = 0.0 if two else max(float(lines.floor[0]), 0.0)
    at_top = lines.free_prediction[0] if floor > 0 else lines.pinned_prediction[0]
    left, misfit = len(losses) - 3, float(misfit_of(lines)[0])
    scale = misfit / left if left > 0 else 1.0
    if variances is None:
        dispersion, known = scale, float(max(left, 0))
    else:
        dispersion, known = max(1.0, scale), degrees
    return LossFrontier(
        flops=flops, losses=losses, variances=own, floor=floor, prefactor=float(at_top - floor), gamma=gamma,
        dispersion=dispersion, degrees=known,
    )  # fmt: skip


def _lines(frontier: LossFrontier, gammas: Array, flops: float) -> _Lines:
    """Fit E + K x, x = (C / C_max)^-γ, at every γ."""
    weights, y = 1 / frontier.variances, frontier.losses
    x = (frontier.flops / frontier.flops.max()) ** -gammas[:, None]
    target = (flops / frontier.flops.max()) ** -gammas
    total = weights.sum()
    mean_x, mean_y = (x @ weights) / total, (y @ weights) / total
    dx, dy = x - mean_x[:, None], y - mean_y
    spread = (dx * dx) @ weights
    slope = (dx * dy) @ weights / spread
    reach = target - mean_x
    second = (x * x) @ weights
    pinned = (x * y) @ weights / second
    return _Lines(
        free_prediction=mean_y + slope * reach,
        free_variance=1 / total + reach**2 / spread,
        free_misfit=((dy - slope[:, None] * dx) ** 2) @ weights,
        floor=mean_y - slope * mean_x,
        floor_covariance=1 / total - mean_x * reach / spread,
        pinned_prediction=pinned * target,
        pinned_variance=target**2 / second,
        pinned_misfit=((y - pinned[:, None] * x) ** 2) @ weights,
    )


def _closed_in(function: Callable[[Array], Array], low: float, high: float) -> float:
    """Argument of the smallest value between two ends, by grids that close in on it."""
    while high - low > 1e-10:
        x = np.linspace(low, high, _STEPS)
        best = int(function(x).argmin())
        low, high = x[max(best - 1, 0)], x[min(best + 1, _STEPS - 1)]
    return float((low + high) / 2)


def _boundary(function: Callable[[Array], Array], best: float, end: float, threshold: float) -> float:
    """Where the function passes the threshold between `best` and `end`; `end` where it never does."""
    if function(np.array([end]))[0] <= threshold:
        return float(end)
    inside, outside = best, float(end)
    for _ in range(8):
        x = np.linspace(inside, outside, _STEPS)
        first = int((function(x) > threshold).argmax())
        inside, outside = float(x[max(first - 1, 0)]), float(x[first])
    return inside
