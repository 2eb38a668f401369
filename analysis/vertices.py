"""Lowest points of IsoFLOP curves: of the parabola through a curve's points, or of Akima's interpolant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.shapes import ShapeRule
from analysis.parabola import Parabola
from analysis.table import Array
from analysis.trend import t_quantile

Variable = Literal["params", "tokens"]
CurveKind = Literal["parabola", "akima"]

_AKIMA_DRAWS, _AKIMA_GRID, _AKIMA_SEED = 400, 513, 0


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviation of one run's loss about its curve, with the degrees of freedom that it is known by."""

    sd: float
    degrees: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Seed-averaged points of one budget, sorted by size, and the interpolant through them.

    Attributes:
        budget: C in FLOPs.
        variable: What the interpolant is a function of, in natural logarithms.
        params: N, shape (n,).
        tokens: D, shape (n,).
        loss: Seed-averaged losses, shape (n,).
        replicates: Runs behind each, shape (n,).
        squares: Squared deviations of replicates from their means, summed.
        shapes: FLOPs per token along the shapes of all the runs.
        parabola: Through the points, weighted by replicates; None with fewer than three sizes.
    """

    budget: float
    variable: Variable
    params: Array
    tokens: Array
    loss: Array
    replicates: Array
    squares: float
    shapes: ShapeRule
    parabola: Parabola | None

    @property
    def x(self) -> Array:
        """Logarithm of the variable, shape (n,)."""
        return np.log(self.params if self.variable == "params" else self.tokens)

    @property
    def misfit(self) -> float:
        """Squared residuals of all single runs about the parabola, summed."""
        if self.parabola is None:
            return self.squares
        return self.squares + float(self.replicates @ (self.loss - self.parabola(self.x)) ** 2)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of `misfit`."""
        return float(max(self.replicates.sum() - (3 if self.parabola else len(self.loss)), 0.0))


@dataclass(frozen=True, kw_only=True)
class Vertex:
    """Lowest point of an interpolant, in logarithms of the curve's variable.

    Attributes:
        x: Where it is.
        value: The loss there.
        x_se: Standard error of x; None where the noise is unknown, as in the two that follow.
        value_se: Standard error of the value.
        rise: Each point's height above the value in standard errors, shape (n,).
        ends: Interval of x, None for an open end.
        method: How `ends` were made.
        depth: Lower end of the interpolant above the value.
        smooth: The interpolant, from logarithms to losses.
    """

    x: float
    value: float
    x_se: float | None
    value_se: float | None
    rise: Array | None
    ends: tuple[float | None, float | None]
    method: str
    depth: float
    smooth: Callable[[Array], Array]


def parabola_vertex(curve: Curve, parabola: Parabola, noise: Noise | None, level: float) -> Vertex:
    """Vertex of the parabola, with Fieller's interval."""
    x, lowest = curve.x, parabola.at_vertex()
    return Vertex(
        x=parabola.vertex,
        value=lowest,
        x_se=parabola.vertex_se(noise.sd) if noise else None,
        value_se=parabola.minimum_se(noise.sd) if noise else None,
        rise=parabola.rise(x, curve.loss, curve.replicates, noise.sd) if noise else None,
        ends=parabola.fieller(noise.sd, t_quantile(noise.degrees, level)) if noise else (None, None),
        method="fieller",
        depth=float(parabola(np.array([x.min(), x.max()])).min() - lowest),
        smooth=parabola,
    )


def akima_vertex(curve: Curve, noise: Noise | None, level: float) -> Vertex:
    """Lowest point of Akima's interpolant; its errors are those of curves simulated with the runs' noise."""
    from scipy.interpolate import Akima1DInterpolator

    knots, means, _ = _knots(curve)
    smooth = Akima1DInterpolator(knots, means)
    (x,), (value,), _ = _grid_minima(knots, smooth)
    found = Vertex(
        x=float(x), value=float(value), x_se=None, value_se=None, rise=None, ends=(None, None), method="simulation",
        depth=float(min(means[0], means[-1]) - value), smooth=smooth,
    )  # fmt: skip
    if noise is None:
        return found
    spread, lows, within = simulate_akima(curve, noise, np.random.default_rng(_AKIMA_SEED), _AKIMA_DRAWS)
    value_se, tail = float(lows.std(ddof=1)), (1 - level) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    return replace(
        found,
        x_se=float(spread.std(ddof=1)),
        value_se=value_se,
        rise=(curve.loss - value) / np.hypot(noise.sd / np.sqrt(curve.replicates), value_se),
        ends=(
            float(low) if (~within & (spread <= knots[0])).mean() < tail else None,
            float(high) if (~within & (spread >= knots[-1])).mean() < tail else None,
        ),
    )


def simulate_akima(
    curve: Curve, noise: Noise, generator: np.random.Generator, count: int
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Lowest points of interpolants through a curve's points with noise added: where, how low, and whether inside.

    Shapes: (count,) each.
    """
    from scipy.interpolate import Akima1DInterpolator

    knots, means, weights = _knots(curve)
    draws = generator.standard_normal((len(knots), count))
    return _grid_minima(
        knots, Akima1DInterpolator(knots, means[:, None] + draws * (noise.sd / np.sqrt(weights))[:, None])
    )


def _knots(curve: Curve) -> tuple[Array, Array, Array]:
    """Distinct logarithms, their mean losses and numbers of runs."""
    knots, inverse = np.unique(curve.x, return_inverse=True)
    weights = np.bincount(inverse, curve.replicates).astype(np.float64)
    return knots, np.bincount(inverse, curve.replicates * curve.loss) / weights, weights


def _grid_minima(knots: Array, smooth: Callable[[Array], Array]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Lowest point of each interpolant, refined by the parabola through its neighbours; shapes (m,)."""
    grid = np.linspace(knots[0], knots[-1], _AKIMA_GRID)
    values = smooth(grid).reshape(_AKIMA_GRID, -1)
    lowest = values.argmin(0)
    inside = (lowest > 0) & (lowest < _AKIMA_GRID - 1)
    middle = lowest.clip(1, _AKIMA_GRID - 2)
    left, centre, right = (np.take_along_axis(values, (middle + k)[None], 0)[0] for k in (-1, 0, 1))
    bend = left - 2 * centre + right
    shift = np.where(inside & (bend > 0), (left - right) / np.where(bend > 0, 2 * bend, 1.0), 0.0)
    vertex = np.where(inside, grid[middle] + shift * (grid[1] - grid[0]), grid[lowest])
    return vertex, np.where(inside, centre - (left - right) * shift / 4, values.min(0)), inside
