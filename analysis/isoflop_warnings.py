"""What weakens a fit of approach 2, computed from its curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis import notation
from analysis.minima import CurveMinimum
from analysis.results import FitWarning
from analysis.trend import Trend, t_quantile
from analysis.vertices import Curve

OFF_CENTRE = 1.5
"""Factor between a grid's middle and the minimum from which it is called off centre (chosen: a factor 3 costs 6-12 %
at 1000x)."""

DRIFT = 1.5
"""Factor by which that ratio may change over the budgets."""

SYNTHETIC_RESIDUAL = 1e-4
"""Residual over the range of losses below which a curve is smoother than any training run (real ones have 1e-2)."""


def curve_warnings(minima: Sequence[CurveMinimum], trend: Trend | None, level: float) -> tuple[FitWarning, ...]:
    """Warnings, most severe first."""
    inside = [m for m in minima if m.usable]
    found = [
        *_edges(minima),
        *_few_budgets(inside, trend, level),
        *_noise(inside),
        *_off_centre(inside),
        *_synthetic([m.curve for m in minima]),
    ]
    return tuple(sorted(found, key=lambda warning: -warning.severity))


def _edges(minima: Sequence[CurveMinimum]) -> list[FitWarning]:
    codes = {"edge": "edge_minimum", "no_minimum": "no_minimum", "too_few": "no_minimum"}
    lost = [m for m in minima if not m.usable]
    return [FitWarning(codes[m.status], f"budget {notation.flops(m.budget)}: {m.reason}.", 3.0) for m in lost]


def _few_budgets(inside: Sequence[CurveMinimum], trend: Trend | None, level: float) -> list[FitWarning]:
    count = len(inside)
    if count >= 4:
        return []
    if trend is None or count < 3:
        message = (
            f"{count} curve{'s have' if count != 1 else ' has'} a minimum inside: "
            + ("no exponent can be fitted" if trend is None else "the exponent has no interval")
            + ". Add budgets, or sizes where the minimum is at an edge."
        )
        return [FitWarning("few_budgets", message, 5.0)]
    decades = np.log10(trend.range[1] / trend.range[0])
    half = t_quantile(1, level) * max(trend.exponent_se or 0.0, trend.own_exponent_se or 0.0)
    message = (
        f"three budgets over {decades:.2g} decade{'s' if decades > 1 else ''} leave one degree of freedom, and minima that "
        "happen to lie on a line make the interval narrow by luck: taken with the minima's own errors, the exponent is "
        f"not identified beyond ±{half:.2g} ({level:.0%}). Add a budget."
    )
    return [FitWarning("few_budgets", message, 4.0)]


def _noise(inside: Sequence[CurveMinimum]) -> list[FitWarning]:
    found = []
    for m in inside:
        if m.noise is None or m.depth is None:
            continue
        error = m.noise.sd / np.sqrt(np.median(m.curve.replicates))
        if m.depth < 2 * error:
            message = (
                f"budget {notation.flops(m.budget)}: the curve is {m.depth:.2g} nats deep, twice the noise of a "
                "point is "
                f"{2 * error:.2g}. Add seeds, or sizes further from {notation.count(m.params or 0.0)}."
            )
            found.append(FitWarning("noise_exceeds_depth", message, 2.5))
    return found


def _off_centre(inside: Sequence[CurveMinimum]) -> list[FitWarning]:
    """A grid that is off the minimum, or drifts across it with C, bends the vertices by the parabola's own bias."""
    if len(inside) < 2:
        return []
    size = np.log(np.array([m.params for m in inside], dtype=np.float64))
    middle = np.array([np.log(m.curve.params.min() * m.curve.params.max()) / 2 for m in inside])
    offset, budgets = middle - size, np.log([m.budget for m in inside])
    drift = float(np.polyfit(budgets, offset, 1)[0] * np.ptp(budgets)) if np.ptp(budgets) else 0.0
    if abs(offset.mean()) <= np.log(OFF_CENTRE) and abs(drift) <= np.log(DRIFT):
        return []
    message = (
        f"the sizes' middle is {np.exp(offset.mean()):.2g} x the optimum on average and changes by a factor "
        f"{np.exp(drift):.2g} over "
        "the budgets; a parabola's vertex shifts with it. Centre the sizes on N*, or fit with correct_bias."
    )
    return [FitWarning("grid_off_centre", message, 2.0)]


def _synthetic(curves: Sequence[Curve]) -> list[FitWarning]:
    shares = [share for curve in curves if (share := _roughness(curve)) is not None]
    if not shares or max(shares) >= SYNTHETIC_RESIDUAL:
        return []
    message = (
        f"the losses lie on smooth curves to {max(shares):.1g} of their range; training runs scatter by about 1e-2. "
        "These look computed rather than measured, so that the intervals mean little."
    )
    return [FitWarning("looks_synthetic", message, 1.0)]


def _roughness(curve: Curve) -> float | None:
    """Residual of a polynomial of degree 5 at most over the range of losses; None below seven points."""
    count = len(np.unique(curve.x))
    if count < 7 or np.ptp(curve.loss) == 0:
        return None
    x = (curve.x - curve.x.mean()) / np.ptp(curve.x) * 2
    degree = min(5, count - 3)
    residual = curve.loss - np.polyval(np.polyfit(x, curve.loss, degree), x)
    return float(np.sqrt((residual @ residual) / (len(x) - degree - 1)) / np.ptp(curve.loss))
