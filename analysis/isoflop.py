"""Approach 2: the minimum of every IsoFLOP curve, and power laws of compute through the minima.

Hoffmann et al. 2022 (arXiv:2203.15556, section 3.2) fit a parabola in log N to each curve's final losses. Here
replicates are averaged first, every minimum carries an interval and a status, and the exponents carry the minima's
errors and the scatter between curves.

What counts as a minimum. `inside`: the fitted vertex lies in the observed range and the curvature is positive.
`bracketed`, the quality filter: besides, at least two sizes on each side lie above the fitted minimum by more than two
standard errors, and the standard error of log10 of the optimum is below .25. Everything else is left out and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import notation
from analysis.documents import fit_document
from analysis.errors import FitError
from analysis.fitting.shapes import shape_rule
from analysis.frontier import LossFrontier, fit_frontier
from analysis.isoflop_bias import ParabolaBias, Surface, bias_of_curves, vertex_bias
from analysis.isoflop_warnings import curve_warnings
from analysis.minima import CurveMinimum, common_variance, find_minimum, gather_curves
from analysis.points import BUDGET_TOLERANCE, average_replicates, with_budgets
from analysis.power_laws import PowerLawFit
from analysis.results import Dropped
from analysis.run_checks import stopping_warnings
from analysis.table import Runs
from analysis.trend import Trend, Weights, fit_trend
from analysis.tuning import one_point_each
from analysis.vertices import CurveKind, Variable

if TYPE_CHECKING:
    from analysis.fitting.bootstrap import Bootstrap


@dataclass(frozen=True, kw_only=True)
class IsoflopFit(PowerLawFit):
    """Minima of the curves and the power laws through those that are inside; the filter keeps bracketed ones.

    Attributes:
        variable: `params` or `tokens`: what the curves are functions of.
        curve: `parabola` or `akima`.
        weights: How minima are weighted in the power laws.
        minima: One per budget, by rising budget.
        shifts: Predicted shift of ln of each minimum by the curve's shape, subtracted before the power laws; None
            uncorrected.
    """

    variable: Variable
    curve: CurveKind
    weights: Weights
    minima: tuple[CurveMinimum, ...]
    shifts: Mapping[float, float] | None

    def _no_optimum(self) -> str:
        reasons = "; ".join(f"budget {notation.flops(m.budget)}: {m.reason}" for m in self.minima if not m.usable)
        return (
            f"{sum(m.usable for m in self.minima)} of {len(self.minima)} curves have their minimum inside; "
            f"a prediction needs two ({reasons})."
        )

    def bias(self, surface: Surface, *, flops: float) -> ParabolaBias:
        """What parabolas on this fit's own points do to a surface without noise, and to its optimum at C = `flops`.

        Args:
            surface: L(N, D), such as the `predict` of a parametric fit to the same runs.
            flops: Target C.

        Raises:
            FitError: Fewer than two curves have their minimum inside, or they are no parabolas.
        """
        curves = [m.curve for m in self.minima if m.usable]
        if self.curve != "parabola" or len(curves) < 2:
            raise FitError(
                f"the bias is that of parabolas with two minima inside; this fit has {len(curves)} with {self.curve}. "
                "Use curve='parabola', or add budgets."
            )
        return bias_of_curves(curves, surface, flops=flops)

    def bootstrap(self, count: int = 1000, *, seed: int = 0) -> Bootstrap:
        """Repeat the whole fit on resampled points; see `analysis.isoflop_bootstrap`."""
        from analysis.isoflop_bootstrap import bootstrap_isoflop

        return bootstrap_isoflop(self, count, seed=seed)

    def to_json(self) -> dict[str, Any]:
        """The fit as a JSON object with the keys that all methods share, and `curves`."""
        solved = [m.curve.parabola for m in self.minima if m.curve.parabola is not None]
        gradient = max(p.gradient_norm for p in solved)
        return fit_document(
            method="isoflop",
            form=f"{self.curve} in log {self.variable}",
            objective={"kind": "squares", "space": "linear", "value": sum(m.curve.misfit for m in self.minima) / 2},
            n=len(self.runs),
            dropped=self.dropped,
            coefficients=self.coefficients,
            se=self.se,
            intervals=self.intervals,
            certificate={
                "converged": gradient < 1e-9,
                "gradient_norm": gradient,
                "newton_decrement": max(p.newton_decrement for p in solved),
                "condition": max(p.condition for p in solved),
                "at_bounds": [],
            },
            exponents=self.exponents,
            exponents_filtered=self.exponents_filtered,
            warnings=self.warnings,
            curves=[_curve_document(m, (self.shifts or {}).get(m.budget)) for m in self.minima],
        )


def fit_isoflop(
    runs: Runs,
    *,
    variable: Variable = "params",
    curve: CurveKind = "parabola",
    weights: Weights = "equal",
    level: float = 0.9,
    correct_bias: Surface | None = None,
    budget_tolerance: float = BUDGET_TOLERANCE,
) -> IsoflopFit:
    """Fit approach 2.

    Args:
        runs: Runs with a column `budget`, or whose FLOPs fall into groups within `budget_tolerance`.
        variable: Whether curves are functions of log N or of log D.
        curve: `parabola`, or `akima` for Akima's interpolant through the points.
        weights: `equal` for ordinary least squares through the minima (the published practice, and robust to a curve
            whose scatter is luck), or `errors` to weight each by its own variance and the scatter between curves.
        level: Nominal level of the intervals.
        correct_bias: Surface L(N, D) whose predicted vertex shifts are subtracted (see `analysis.isoflop_bias`).
        budget_tolerance: Relative half-width of a group of FLOPs, where the source has no budgets.

    Returns:
        The fit; curves without a usable minimum are in `dropped`, and the exponents are None with fewer than two left.

    Raises:
        FitError: One budget only, no budgets, or no curve of three sizes.
    """
    runs = with_budgets(one_point_each(runs), tolerance=budget_tolerance)
    points = average_replicates(runs)
    shapes = shape_rule(runs)
    curves = gather_curves(points.frame, variable, shapes)
    _refuse_unusable(runs, len(curves), max(len(np.unique(c.x)) for c in curves))
    common = common_variance(curves)
    minima = tuple(find_minimum(c, kind=curve, common=common, level=level) for c in curves)
    shifts = None if correct_bias is None else _predicted_bias(minima, correct_bias, curve)
    inside = [m for m in minima if m.usable]
    params_trend, tokens_trend = _trends(inside, shifts, weights)
    filtered = _trends([m for m in inside if m.status == "bracketed"], shifts, weights)
    left_out = [
        Dropped(run=f"budget {notation.flops(m.budget)}", reason=m.reason or "") for m in minima if not m.usable
    ]
    return IsoflopFit(
        runs=runs,
        variable=variable,
        curve=curve,
        weights=weights,
        level=level,
        minima=minima,
        shifts=shifts,
        shapes=shapes,
        params_trend=params_trend,
        tokens_trend=tokens_trend,
        params_trend_filtered=filtered[0],
        tokens_trend_filtered=filtered[1],
        frontier=_frontier(inside),
        dropped=(*runs.dropped, *points.dropped, *left_out),
        warnings=(*curve_warnings(minima, params_trend, level), *stopping_warnings(runs)),
    )


def _refuse_unusable(runs: Runs, budgets: int, sizes: int) -> None:
    name = runs.source or "the table"
    if budgets < 2:
        raise FitError(
            f"{name} has one budget only ({notation.flops(runs.frame['budget'].iloc[0])} FLOPs); a law of compute "
            "needs at least two, and three to "
            "have an interval. Add budgets to the sweep."
        )
    if sizes < 3:
        what = "1 size at every budget" if sizes == 1 else f"at most {sizes} sizes at any budget"
        raise FitError(
            f"{name} has {what}; a minimum needs at least 3. Add sizes, or map the column of budgets (--map budget=COLUMN)."
        )


def _predicted_bias(minima: Sequence[CurveMinimum], surface: Surface, kind: CurveKind) -> dict[float, float]:
    if kind != "parabola":
        raise FitError(f"correct_bias is for parabolas, and this fit uses {kind}. Leave one of the two out.")
    return {m.budget: vertex_bias(m.curve, surface) for m in minima if m.usable}


def _trends(
    minima: Sequence[CurveMinimum], bias: Mapping[float, float] | None, weights: Weights
) -> tuple[Trend | None, Trend | None]:
    """N*(C) and D*(C); the bias is of the curves' own variable, and opposite in the other since C is fixed."""
    if len(minima) < 2:
        return None, None
    flops = np.array([m.budget for m in minima])
    shift = np.array([(bias or {}).get(m.budget, 0.0) for m in minima])
    sign = 1.0 if minima[0].curve.variable == "params" else -1.0
    params = np.array([m.params for m in minima], dtype=np.float64) * np.exp(-sign * shift)
    tokens = np.array([m.tokens for m in minima], dtype=np.float64) * np.exp(sign * shift)
    known = all(m.log_se is not None for m in minima)
    log_se = np.array([m.log_se for m in minima], dtype=np.float64) if known else None
    return (
        fit_trend(flops, params, log_se=log_se, weights=weights),
        fit_trend(flops, tokens, log_se=log_se, weights=weights),
    )


def _frontier(minima: Sequence[CurveMinimum]) -> LossFrontier | None:
    if len(minima) < 2:
        return None
    known = all(m.loss_se is not None for m in minima)
    return fit_frontier(
        np.array([m.budget for m in minima]),
        np.array([m.loss for m in minima], dtype=np.float64),
        variances=np.array([m.loss_se for m in minima], dtype=np.float64) ** 2 if known else None,
        degrees=sum(m.noise.degrees for m in minima if m.noise is not None) if known else 0.0,
    )


def _curve_document(minimum: CurveMinimum, bias: float | None) -> dict[str, Any]:
    found = minimum if minimum.usable else None
    return {
        "budget": minimum.budget,
        "status": minimum.status,
        "reason": minimum.reason,
        "sizes": len(np.unique(minimum.curve.x)),
        "runs": int(minimum.curve.replicates.sum()),
        "minimum": found and {"params": found.params, "tokens": found.tokens, "loss": found.loss},
        "interval": found
        and {"params": found.params_interval, "tokens": found.tokens_interval, "loss": found.loss_interval},
        "noise": minimum.noise and minimum.noise.sd,
        "depth": minimum.depth,
        "bias": bias,
    }
