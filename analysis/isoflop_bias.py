"""The parabola's own bias: an IsoFLOP curve of a power law is no parabola, and the fitted vertex misses its minimum.

The shift depends on the surface and the grid alone, not on noise: more seeds do not help, narrower and centred grids do
(arXiv:2603.22339). It is predicted by fitting parabolas to the surface itself on the points that were run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.fitting.shapes import SIX_N
from analysis.parabola import fit_parabola
from analysis.table import Array
from analysis.trend import fit_trend
from analysis.vertices import Curve, Variable

Surface = Callable[[Array, Array], Array]
"""Loss in nats per token from N and D, arrays of one shape; a fit's or a law's `predict`."""


@dataclass(frozen=True, kw_only=True)
class ParabolaBias:
    """What parabolas do to a noise-free surface on given grids.

    Attributes:
        budgets: C of each curve, shape (k,).
        log_shift: ln of fitted over true optimum of each curve, shape (k,).
        exponent_shift: Fitted minus true exponent of the optimum over C, the true one between the smallest and
            largest budget.
        flops: Target C.
        relative_error: Fitted over true optimum at the target, minus 1.
    """

    budgets: Array
    log_shift: Array
    exponent_shift: float
    flops: float
    relative_error: float


def parabola_bias(
    surface: Surface, *, budgets: Sequence[float], grids: Sequence[Array], flops: float, variable: Variable = "tokens"
) -> ParabolaBias:
    """Predict the bias of parabolas in log N or log D through a surface, under C = 6ND.

    Args:
        surface: The loss.
        budgets: C of each curve, at least two.
        grids: Values of `variable` on each curve, shape (n,) each.
        flops: Target C of the extrapolation.
        variable: What the grids and parabolas are in.
    """
    curves = [_planned_curve(budget, grid, variable) for budget, grid in zip(budgets, grids, strict=True)]
    return bias_of_curves(curves, surface, flops=flops)


def bias_of_curves(curves: Sequence[Curve], surface: Surface, *, flops: float) -> ParabolaBias:
    """Predict the bias of parabolas through a surface at the points of these curves, with their own φ.

    Args:
        curves: At least two, by rising budget; their losses are not used.
        surface: The loss.
        flops: Target C of the extrapolation.
    """
    C = np.array([curve.budget for curve in curves])
    shapes, variable = curves[0].shapes, curves[0].variable
    true = np.array([_true_optimum(surface, c.budget, shapes.flops_per_token, variable, c.x) for c in curves])
    fitted = true * np.exp([vertex_bias(curve, surface) for curve in curves])
    trend = fit_trend(C, fitted)
    target = _true_optimum(surface, flops, shapes.flops_per_token, variable, np.log([trend.at(flops)]))
    slope = np.log(true[-1] / true[0]) / np.log(C[-1] / C[0])
    return ParabolaBias(
        budgets=C,
        log_shift=np.log(fitted / true),
        exponent_shift=float(trend.exponent - slope),
        flops=flops,
        relative_error=trend.at(flops) / target - 1,
    )


def vertex_bias(curve: Curve, surface: Surface) -> float:
    """Ln of fitted over true optimum that this curve's points would show on `surface` without noise."""
    fitted = fit_parabola(curve.x, surface(curve.params, curve.tokens), curve.replicates).vertex
    true = _true_optimum(surface, curve.budget, curve.shapes.flops_per_token, curve.variable, curve.x)
    return float(fitted - np.log(true))


def additive_surface(coefficients: Mapping[str, float]) -> Surface:
    """L = E + A/N^α + B/D^β from its five coefficients."""
    A, B, E, alpha, beta = (coefficients[name] for name in ("A", "B", "E", "alpha", "beta"))

    def loss(params: Array, tokens: Array) -> Array:
        return np.asarray(E + A * params**-alpha + B * tokens**-beta)

    return loss


def _planned_curve(budget: float, grid: Array, variable: Variable) -> Curve:
    """Points of a grid that nobody has run, under C = 6ND."""
    other = budget / (6 * grid)
    params, tokens = (grid, other) if variable == "params" else (other, grid)
    return Curve(
        budget=float(budget), variable=variable, params=params, tokens=tokens, loss=np.zeros_like(grid),
        replicates=np.ones_like(grid), squares=0.0, shapes=SIX_N, parabola=None,
    )  # fmt: skip


def _true_optimum(
    surface: Surface, flops: float, per_token: Callable[[Array], Array], variable: Variable, near: Array
) -> float:
    """N (or D) that minimises the surface at C, by a grid of log N that closes in on the minimum."""
    sizes = near if variable == "params" else np.log(flops / 6) - near
    low, high = float(sizes.min()) - 7.0, float(sizes.max()) + 7.0
    while high - low > 1e-3:
        x = np.linspace(low, high, 65)
        N = np.exp(x)
        best = int(np.clip(surface(N, flops / per_token(N)).argmin(), 1, 63))
        low, high = x[best - 1], x[best + 1]
    x = np.linspace(low, high, 3)
    N = np.exp(x)
    left, middle, right = surface(N, flops / per_token(N))
    bend = left - 2 * middle + right
    shift = (left - right) / (2 * bend) if bend > 0 else 0.0
    best_size = np.exp(x[1] + shift * (x[2] - x[1]))
    return float(best_size if variable == "params" else flops / per_token(best_size))
