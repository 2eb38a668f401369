"""Bootstrap of approach 2 from the points to the exponents: every resample finds its own minima, and may lose some.

An interpolant goes through its points, and with some of them gone it is another: for Akima the points stay and get noise
of each curve's own size instead.

Points are drawn within their budget and replicates of a point stay together. Drawing k points to fit three coefficients
understates their variance by about (k - 3) / k, so that each curve's vertex is moved out from the fit's own by
sqrt(k / (k - 3)): the inflation of a stratified bootstrap with few units in a stratum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import FitError
from analysis.fitting.bootstrap import Bootstrap
from analysis.parabola import vertices
from analysis.table import Array
from analysis.trend import Weights, fit_trend
from analysis.vertices import simulate_akima

if TYPE_CHECKING:
    from analysis.isoflop import IsoflopFit
    from analysis.minima import CurveMinimum

NAMES = ("N_exponent", "N_prefactor", "D_exponent", "D_prefactor", "a", "b")

SCHEMES = {"parabola": "points within budgets, inflated", "akima": "noise of each curve added to its points"}

LARGEST_INFLATION = 2.0
"""Bound on sqrt(k / (k - 3)), reached at four points (chosen: with three sizes a bootstrap has nothing to say)."""


def bootstrap_isoflop(fit: IsoflopFit, count: int, *, seed: int) -> Bootstrap:
    """Refit approach 2 to `count` resamples of its points.

    Args:
        fit: The fit; its predicted bias, if any, is subtracted from every resample too.
        count: Resamples.
        seed: Seed of the draws.

    Returns:
        Draws of the coefficients, of those resamples that keep two minima inside; `converged` has one value per
        resample.

    Raises:
        FitError: Fewer than two minima or resamples, or hardly any resample keeps two minima.
    """
    if fit.params_trend is None:
        raise FitError(
            f"the bootstrap needs two minima inside; this fit has {sum(m.usable for m in fit.minima)}. Add budgets, or "
            "sizes on both sides."
        )
    if count < 2:
        raise FitError(f"{count} bootstrap resamples; expected at least 2. 1000 is usual.")
    generator = np.random.default_rng(seed)
    used = [m for m in fit.minima if m.curve.parabola is not None]
    resampled = _resampled_vertices if fit.curve == "parabola" else _simulated_vertices
    logs = np.stack([resampled(m, count, generator) - _shift(fit, m) for m in used], axis=1)
    draws = _refitted(fit, used, logs)
    kept = np.asarray(np.isfinite(draws).all(axis=1), dtype=np.bool_)
    if kept.mean() < 0.5:
        raise FitError(
            f"only {kept.sum()} of {count} resamples keep two minima inside; expected most. Add sizes on both sides "
            "of the minima."
        )
    return Bootstrap(
        names=NAMES,
        draws=draws[kept],
        converged=kept,
        values=np.full(count, np.nan),
        estimate=_coefficients(fit),
        units=sum(len(m.curve.loss) for m in used),
        scheme=f"{SCHEMES[fit.curve]}; {kept.mean():.1%} of the resamples keep two minima",
    )


def _resampled_vertices(minimum: CurveMinimum, count: int, generator: np.random.Generator) -> Array:
    """Vertices in log N or log D, NaN where the resample has none inside, shape (count,)."""
    curve = minimum.curve
    points = len(curve.loss)
    drawn = generator.multinomial(points, np.full(points, 1 / points), size=count)
    found, _, bend = vertices(curve.x, curve.loss, drawn * curve.replicates)
    inflation = min(np.sqrt(points / (points - 3)), LARGEST_INFLATION) if points > 3 else LARGEST_INFLATION
    if minimum.usable and curve.parabola is not None:
        found = curve.parabola.vertex + inflation * (found - curve.parabola.vertex)
    return np.where((bend > 0) & (found > curve.x.min()) & (found < curve.x.max()), found, np.nan)


def _simulated_vertices(minimum: CurveMinimum, count: int, generator: np.random.Generator) -> Array:
    """Lowest points of Akima's interpolant with noise on its points, NaN where at an end or without noise known."""
    if minimum.noise is None:
        return np.full(count, np.nan)
    found, _, inside = simulate_akima(minimum.curve, minimum.noise, generator, count)
    return np.where(inside, found, np.nan)


def _shift(fit: IsoflopFit, minimum: CurveMinimum) -> float:
    return (fit.shifts or {}).get(minimum.budget, 0.0)


def _refitted(fit: IsoflopFit, minima: Sequence[CurveMinimum], logs: Array) -> Array:
    """Coefficients of each resample, NaN with fewer than two minima; shape (count, 6).

    With 6ND and one variable both trends come from the same vertices, so that one regression serves both.
    """
    flops = np.array([m.budget for m in minima])
    known = np.array([np.nan if m.log_se is None else m.log_se for m in minima], dtype=np.float64)
    rows = [_one(flops, line, known, fit) for line in logs]
    return np.array(rows)


def _one(flops: Array, log_values: Array, known: Array, fit: IsoflopFit) -> Array:
    ok = np.isfinite(log_values)
    if ok.sum() < 2:
        return np.full(len(NAMES), np.nan)
    C, first = flops[ok], np.exp(log_values[ok])
    weights: Weights = fit.weights if np.isfinite(known[ok]).all() else "equal"
    log_se = known[ok] if weights == "errors" else None
    other = C / fit.shapes.flops_per_token(first) if fit.variable == "params" else _sizes(fit, C / first)
    params, tokens = (first, other) if fit.variable == "params" else (other, first)
    N, D = (fit_trend(C, values, log_se=log_se, weights=weights) for values in (params, tokens))
    return np.array([N.exponent, N.prefactor, D.exponent, D.prefactor, N.exponent, D.exponent])


def _sizes(fit: IsoflopFit, cost: Array) -> Array:
    """N at which φ(N) = C / D, by interpolation over the sizes that were run."""
    sizes = np.unique(fit.runs.column("params"))
    return np.exp(np.interp(np.log(cost), np.log(fit.shapes.flops_per_token(sizes)), np.log(sizes)))


def _coefficients(fit: IsoflopFit) -> Array:
    c = fit.coefficients
    names = ("N_exponent", "N_prefactor", "D_exponent", "D_prefactor", "N_exponent", "D_exponent")
    return np.array([c[name] for name in names], dtype=np.float64)
