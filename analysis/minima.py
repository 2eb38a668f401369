"""One IsoFLOP curve's minimum: where it is, how well that is known, and whether it is a minimum at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis import notation
from analysis.fitting.shapes import ShapeRule
from analysis.parabola import fit_parabola
from analysis.results import Interval
from analysis.table import Array
from analysis.trend import t_quantile
from analysis.vertices import Curve, CurveKind, Noise, Variable, Vertex, akima_vertex, parabola_vertex

Status = Literal["bracketed", "inside", "edge", "no_minimum", "too_few"]

PRIOR_DEGREES = 4.0
"""Weight of the curves' common variance in each curve's own, in degrees of freedom (chosen: about one curve of seven
sizes)."""

BRACKET_SIZES, BRACKET_ERRORS, BRACKET_LOG10_SE = 2, 2.0, 0.25
"""The quality filter: sizes on each side, standard errors that they lie above the minimum, largest error of log10 of
the optimum."""


@dataclass(frozen=True, kw_only=True)
class CurveMinimum:
    """The minimum of one curve.

    Attributes:
        budget: C in FLOPs.
        status: `bracketed` and `inside` as the module `analysis.isoflop` defines them; `edge` when the vertex is
            beyond the sizes, `no_minimum` when the curve bends downwards, `too_few` below three sizes.
        reason: Why it is left out of the exponents, or of the filtered ones; None when bracketed.
        params: N*; None where there is no minimum inside.
        tokens: D* = C / φ(N*).
        loss: L*.
        params_interval: Fieller's interval (Akima: of simulated curves), open where the curvature is not significant.
        tokens_interval: The same, mapped along the curve.
        loss_interval: t interval.
        log_se: Standard error of ln N* (or ln D*, whose error is the same under 6ND); None where no noise can be
            estimated.
        loss_se: Standard error of L*.
        noise: Of single runs about this curve.
        depth: Lower of the fitted curve's two ends, above the minimum, in nats.
        curve: The points and the parabola.
        smooth: The interpolant that the minimum was taken of, from log N (or log D) to loss, for figures.
    """

    budget: float
    status: Status
    reason: str | None
    curve: Curve
    params: float | None = None
    tokens: float | None = None
    loss: float | None = None
    params_interval: Interval | None = None
    tokens_interval: Interval | None = None
    loss_interval: Interval | None = None
    log_se: float | None = None
    loss_se: float | None = None
    noise: Noise | None = None
    depth: float | None = None
    smooth: Callable[[Array], Array] | None = None

    @property
    def usable(self) -> bool:
        """Whether its minimum enters the exponents."""
        return self.status in ("inside", "bracketed")


def gather_curves(points: pd.DataFrame, variable: Variable, shapes: ShapeRule) -> list[Curve]:
    """Curves by rising budget, each with its parabola where it has three sizes."""
    names = ("budget", "params", "tokens", "loss", "replicates", "squares")
    columns = {name: points[name].to_numpy(np.float64) for name in names}
    order = np.lexsort((columns["tokens"], columns["params"], columns["budget"]))
    starts = np.flatnonzero(np.diff(columns["budget"][order])) + 1
    groups = np.split(order, starts)
    return [_gather({name: values[rows] for name, values in columns.items()}, variable, shapes) for rows in groups]


def _gather(columns: dict[str, Array], variable: Variable, shapes: ShapeRule) -> Curve:
    x = np.log(columns[variable])
    enough = len(np.unique(x)) >= 3
    return Curve(
        budget=float(columns["budget"][0]),
        variable=variable,
        params=columns["params"],
        tokens=columns["tokens"],
        loss=columns["loss"],
        replicates=columns["replicates"],
        squares=float(columns["squares"].sum()),
        shapes=shapes,
        parabola=fit_parabola(x, columns["loss"], columns["replicates"]) if enough else None,
    )


def common_variance(curves: list[Curve]) -> float | None:
    """Median over curves of their runs' variance, since one mistuned curve moves it little; None if nothing is left."""
    variances = [curve.misfit / curve.degrees for curve in curves if curve.degrees >= 1]
    return float(np.median(variances)) if variances else None


def find_minimum(curve: Curve, *, kind: CurveKind, common: float | None, level: float) -> CurveMinimum:
    """Take the minimum of one curve and say what it is worth.

    The curve's own variance is drawn towards the common one: (4 s0² + SS) / (4 + df), so that a curve of five points
    is not believed exact by luck, nor a noisy small budget as quiet as the large ones.
    """
    sizes = len(np.unique(curve.x))
    if curve.parabola is None:
        reason = f"{sizes} size{'s' if sizes != 1 else ''}; a minimum needs at least 3. Add sizes at this budget"
        return CurveMinimum(budget=curve.budget, status="too_few", reason=reason, curve=curve)
    noise = None
    if common is not None:
        degrees = PRIOR_DEGREES + curve.degrees
        noise = Noise(sd=float(np.sqrt((PRIOR_DEGREES * common + curve.misfit) / degrees)), degrees=degrees)
    if kind == "parabola" and curve.parabola.coefficients[2] <= 0:
        reason = "the fitted curve bends downwards; add sizes on both sides, or seeds"
        return CurveMinimum(
            budget=curve.budget, status="no_minimum", reason=reason, curve=curve, noise=noise, smooth=curve.parabola
        )
    akima = kind == "akima"
    found = akima_vertex(curve, noise, level) if akima else parabola_vertex(curve, curve.parabola, noise, level)
    if curve.x.min() < found.x < curve.x.max():
        return _placed(curve, noise, found, level)
    reason = _edge_reason(curve, found.x <= curve.x.min())
    return CurveMinimum(
        budget=curve.budget, status="edge", reason=reason, curve=curve, noise=noise, smooth=found.smooth
    )


def _placed(curve: Curve, noise: Noise | None, found: Vertex, level: float) -> CurveMinimum:
    """A minimum that lies inside, in both variables and with its status."""
    reason = _unbracketed_reason(curve, found)
    variable, other = curve.variable, "tokens" if curve.variable == "params" else "params"
    low, high = (None if end is None else float(np.exp(end)) for end in found.ends)
    left, right = (None if end is None else _along(curve, end) for end in (high, low))
    spans = {variable: Interval(low, high, level, found.method), other: Interval(left, right, level, found.method)}
    half = t_quantile(noise.degrees, level) * found.value_se if noise and found.value_se is not None else None
    places = {variable: float(np.exp(found.x)), other: _along(curve, float(np.exp(found.x)))}
    loss_interval = Interval(None, None, level, "t")
    if half is not None:
        loss_interval = Interval(found.value - half, found.value + half, level, "t")
    return CurveMinimum(
        budget=curve.budget,
        curve=curve,
        noise=noise,
        smooth=found.smooth,
        status="bracketed" if reason is None else "inside",
        reason=reason,
        params=places["params"],
        tokens=places["tokens"],
        loss=found.value,
        params_interval=spans["params"],
        tokens_interval=spans["tokens"],
        loss_interval=loss_interval,
        log_se=found.x_se,
        loss_se=found.value_se,
        depth=found.depth,
    )


def _along(curve: Curve, value: float) -> float:
    """D at an N of the curve, or N at a D of it, by C = φ(N) D with φ along the runs' own shapes."""
    if curve.variable == "params":
        return float(curve.budget / curve.shapes.flops_per_token(np.array(value)))
    sizes = np.unique(curve.params)
    cost = np.log(curve.shapes.flops_per_token(sizes))
    wanted = np.log(curve.budget / value)
    beyond = wanted - np.clip(wanted, cost[0], cost[-1])
    return float(np.exp(np.interp(wanted, cost, np.log(sizes)) + beyond))


def _unbracketed_reason(curve: Curve, found: Vertex) -> str | None:
    """Which rule of the quality filter a minimum fails, None for none."""
    if found.rise is None or found.x_se is None:
        return "no replicates and no points to spare: the noise is unknown, and nothing shows a bracket. Add seeds"
    x, above = curve.x, found.rise > BRACKET_ERRORS
    left, right = (len(np.unique(x[above & side])) for side in (x < found.x, x > found.x))
    if min(left, right) < BRACKET_SIZES:
        side = "smaller" if (left < right) == (curve.variable == "params") else "larger"
        return (
            f"{min(left, right)} {side} size{'s' if min(left, right) != 1 else ''} above the minimum by "
            f"{BRACKET_ERRORS:g} standard errors, expected {BRACKET_SIZES}. Add {side} sizes or seeds"
        )
    log10_se = found.x_se / np.log(10)
    if log10_se >= BRACKET_LOG10_SE:
        return (
            f"the optimum is known to ±{log10_se:.2g} in log10 only, expected below {BRACKET_LOG10_SE:g}. "
            "Add seeds or sizes"
        )
    return None


def _edge_reason(curve: Curve, low_end: bool) -> str:
    """In words of sizes, whichever variable the curve is fitted in: few tokens are large models."""
    small = low_end == (curve.variable == "params")
    end, more = ("smallest", "smaller") if small else ("largest", "larger")
    size = curve.params.min() if small else curve.params.max()
    lowest = curve.params[curve.loss.argmin()]
    what = "the lowest loss is at" if lowest == size else "the fitted minimum lies beyond"
    return f"{what} the {end} size ({notation.count(size)}): its minimum is not inside. Add {more} sizes"
