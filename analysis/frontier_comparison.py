"""Two sweeps compared through their IsoFLOP minima: both loss frontiers with one E, that of the shared evaluation text.

L*(C) = E + e^k (C/C0)^-γ for each. E is hardly known from small budgets, so that every interval is the range over all E
that the minima allow, as in `analysis.frontier`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.minima import CurveMinimum
from analysis.results import Difference, Interval
from analysis.table import Array
from analysis.trend import t_quantile

POWER = 0.8
"""Chance of seeing a difference that `detectable` promises, the usual choice in planning experiments."""

_FLOORS = 400


Quantity = Callable[[Array, Array, Array], tuple[Array, Array]]
"""(k of a and b, γ of a and b, E) -> value and its gradient by (k_a, γ_a, k_b, γ_b), over grids of E.

Shapes: (2, m), (2, m) and (m,) in; (m,) and (4, m) out.
"""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both frontiers at every E of a grid, in logarithms of C over `middle`.

    Attributes:
        floors: E, shape (m,).
        k: ln(L* - E) at the middle, shape (2, m).
        gamma: Slopes, shape (2, m).
        covariance: Of (k, γ) of each, shape (2, m, 2, 2).
        misfit: Weighted squares of both together, shape (m,).
        degrees: Degrees of freedom of the minima's errors.
        dispersion: Factor on their variances where the frontiers miss the minima by more.
        middle: C0.
    """

    floors: Array
    k: Array
    gamma: Array
    covariance: Array
    misfit: Array
    degrees: float
    dispersion: float
    middle: float

    @classmethod
    def of(cls, a: Sequence[CurveMinimum], b: Sequence[CurveMinimum], *, middle: float) -> Pair:
        """Both frontiers, from minima inside their curves."""
        lowest = min(m.loss or np.inf for m in (*a, *b))
        floors = lowest * (1 - np.concatenate([[1.0], np.geomspace(0.999, 1e-3, _FLOORS - 1)]))
        lines = [_log_lines(minima, floors, middle) for minima in (a, b)]
        misfit = lines[0][2] + lines[1][2]
        left = len(a) + len(b) - 5
        known = all(m.noise is not None for m in (*a, *b))
        degrees = float(sum(m.noise.degrees for m in (*a, *b) if m.noise)) if known else float(max(left, 0))
        scale = float(misfit.min()) / left if left > 0 else 1.0
        return cls(
            floors=floors,
            k=np.stack([line[0][:, 0] for line in lines]),
            gamma=np.stack([line[0][:, 1] for line in lines]),
            covariance=np.stack([line[1] for line in lines]),
            misfit=misfit,
            degrees=degrees,
            dispersion=max(1.0, scale) if known else scale,
            middle=middle,
        )

    def best(self) -> tuple[Array, Array]:
        """(k, γ) of a and b at the E that fits best; shapes (2,)."""
        i = int(self.misfit.argmin())
        return self.k[:, i], self.gamma[:, i]

    def difference(self, quantity: Quantity, level: float, equality: float = 0.0) -> Difference:
        """A quantity with its profile interval, and the departure from `equality` that would have shown."""
        value, gradient = quantity(self.k, self.gamma, self.floors)
        i = int(self.misfit.argmin())
        if self.degrees <= 0:
            return Difference(value=float(value[i]), interval=Interval(None, None, level, "profile"), detectable=None)
        parts = gradient.reshape(2, 2, -1)
        variance = np.einsum("sim,smij,sjm->m", parts, self.covariance, parts)
        quantile = t_quantile(self.degrees, level)
        room = np.maximum(self.misfit.min() + self.dispersion * quantile**2 - self.misfit, 0)
        allowed = room > 0
        half = np.sqrt(room * variance)
        low, high = float((value - half)[allowed].min()), float((value + half)[allowed].max())
        se = (high - low) / 2 / quantile
        detectable = abs(equality) + (quantile + t_quantile(self.degrees, 2 * POWER - 1)) * se
        return Difference(
            value=float(value[i]), interval=Interval(low, high, level, "profile"), detectable=float(detectable)
        )

    def slope_difference(self, level: float) -> Difference:
        """γ_b - γ_a."""
        return self.difference(lambda k, g, _: (g[1] - g[0], _stack(g, (0.0, -1.0, 0.0, 1.0))), level)

    def crossover(self) -> float:
        """C at which both frontiers meet."""
        k, g = self.best()
        return self.middle * float(np.exp((k[0] - k[1]) / (g[0] - g[1])))

    def multiplier(self, flops: float, level: float) -> Difference:
        """The effective-compute multiplier at C = `flops`."""
        x = np.log(flops / self.middle)

        def log_multiplier(k: Array, g: Array, _: Array) -> tuple[Array, Array]:
            value = (k[0] - k[1] - (g[0] - g[1]) * x) / g[0]
            return value, np.stack([1 / g[0], -(value + x) / g[0], -1 / g[0], x / g[0]])

        log = self.difference(log_multiplier, level)
        ends = (log.interval.low, log.interval.high)
        low, high = (None if end is None or abs(end) > 700 else float(np.exp(end)) for end in ends)
        detectable = None if log.detectable is None or log.detectable > 700 else float(np.exp(log.detectable))
        return Difference(
            value=float(np.exp(log.value)), interval=Interval(low, high, level, "profile"), detectable=detectable
        )


def offset(k: Array, g: Array, _: Array) -> tuple[Array, Array]:
    """L*_b - L*_a at C0, with its gradient: a `Quantity`."""
    a, b = np.exp(k)
    zero = np.zeros_like(a)
    return b - a, np.stack([-a, zero, b, zero])


def _stack(g: Array, gradient: Sequence[float]) -> Array:
    return np.repeat(np.array(gradient)[:, None], g.shape[1], axis=1)


def _log_lines(minima: Sequence[CurveMinimum], floors: Array, middle: float) -> tuple[Array, Array, Array]:
    """Lines ln(L* - E) = k - γ ln(C/C0) at every E: coefficients (m, 2), covariances (m, 2, 2), misfits (m,)."""
    x = np.log(np.array([m.budget for m in minima]) / middle)
    losses = np.array([m.loss for m in minima], dtype=np.float64)
    known = all(m.loss_se is not None for m in minima)
    se = np.array([m.loss_se for m in minima], dtype=np.float64) if known else np.ones_like(losses)
    se = np.maximum(se, 1e-9 * losses)
    above = losses - floors[:, None]
    weights = (above / se) ** 2
    X = np.stack([np.ones_like(x), -x], axis=1)
    covariance = np.linalg.inv(np.einsum("mn,ni,nj->mij", weights, X, X))
    coefficients = np.einsum("mij,mn,nj,mn->mi", covariance, weights, X, np.log(above))
    residual = np.log(above) - coefficients @ X.T
    return coefficients, covariance, (weights * residual**2).sum(axis=1)
