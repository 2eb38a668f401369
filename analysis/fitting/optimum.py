"""The compute-optimal model of a law: the N that minimises L(N, C / phi(N)), for one law or for many draws of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import LawError
from analysis.fitting.shapes import SIX_N, ShapeRule
from analysis.forms.form import Form
from analysis.results import FitWarning, Interval

Array = NDArray[np.float64]

SEARCH_DECADES = (2.0, 18.0)
"""log10 N that are searched (chosen); an optimum at an end is refused."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The compute-optimal model at one budget.

    Attributes:
        flops: Budget C.
        params: N*.
        tokens: D* = C / phi(N*).
        loss: Predicted loss there; None from a rule that gives no loss.
        intervals: For `params`, `tokens` and `loss`, where known.
        shape_rule: What phi(N) was assumed.
        extrapolation: C over the largest FLOPs that were fitted; None for a law without runs.
        warnings: What weakens it.
    """

    flops: float
    params: float
    tokens: float
    loss: float | None
    intervals: Mapping[str, Interval]
    shape_rule: str
    extrapolation: float | None = None
    warnings: tuple[FitWarning, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON document."""
        intervals = {
            name: {"low": i.low, "high": i.high, "level": i.level, "method": i.method}
            for name, i in self.intervals.items()
        }
        return {
            "flops": self.flops,
            "params": self.params,
            "tokens": self.tokens,
            "loss": self.loss,
            "intervals": intervals,
            "shape_rule": self.shape_rule,
            "extrapolation": self.extrapolation,
            "warnings": [{"code": w.code, "message": w.message} for w in self.warnings],
        }


def optimal_params(
    form: Form,
    coefficients: Array,
    flops: Array,
    shapes: ShapeRule = SIX_N,
    extra: Mapping[str, float] | None = None,
    *,
    strict: bool = True,
) -> Array:
    """N*(C) for each row of coefficients.

    Under 6 N the additive law has N* = (alpha A / (beta B) (C / 6)^beta)^(1 / (alpha + beta)); everything else is
    minimised numerically, on a grid of ln N that closes in on the minimum, then by the parabola through its last
    three points.

    Args:
        form: A form of `params` and `tokens`.
        coefficients: Shape (R, P).
        flops: Budgets, shape (R,) or (1,).
        shapes: FLOPs per token.
        extra: Values of other columns that the form reads.
        strict: Raise for a row without an optimum; else it gets 0 or inf, whichever end its loss falls towards.

    Returns:
        Shape (R,).

    Raises:
        LawError: A form without N and D, or one whose optimum lies outside any sensible size.
    """
    if not {"params", "tokens"} <= set(form.columns):
        raise LawError(f"{form.name} has no params and tokens to trade: expected a form of both, such as additive.")
    flops = np.broadcast_to(np.asarray(flops, dtype=np.float64), (len(coefficients),))
    if form.name == "additive" and shapes.is_six_n:
        a, b, _, alpha, beta = coefficients.T
        return np.asarray(np.exp((np.log(alpha * a / (beta * b)) + beta * np.log(flops / 6)) / (alpha + beta)))
    named = {name: coefficients[:, k : k + 1] for k, name in enumerate(form.names)}

    def loss(x: Array) -> Array:
        return _loss_along(form, named, np.exp(x), flops, shapes, extra)

    low, high = (decade * np.log(10) for decade in SEARCH_DECADES)
    return np.asarray(np.exp(lowest_point(loss, len(coefficients), low, high, strict=strict)))


def optima(
    form: Form, coefficients: Array, flops: float, shapes: ShapeRule, extra: Mapping[str, float] | None = None
) -> tuple[Array, Array, Array]:
    """N*, D* and L* at one budget for each row of coefficients; a single row must have an optimum.

    Args:
        form: A form of `params` and `tokens`.
        coefficients: Shape (R, P).
        flops: Budget C.
        shapes: FLOPs per token.
        extra: Values of other columns that the form reads.

    Returns:
        Shape (R,) each; infinite where a draw among several has no optimum, towards the side that its loss falls to.
    """
    params = optimal_params(form, coefficients, np.array([flops]), shapes, extra, strict=len(coefficients) == 1)
    sizes = np.clip(params, *(10.0**decade for decade in SEARCH_DECADES))
    tokens = flops / shapes.flops_per_token(sizes)
    named = dict(zip(form.names, coefficients.T, strict=True))
    loss = np.asarray(form.loss(named, {"params": sizes, "tokens": tokens, **(extra or {})}))
    below, above = params == 0, np.isinf(params)
    return np.where(below, -np.inf, params), np.where(below, np.inf, np.where(above, -np.inf, tokens)), loss


def lowest_point(
    function: Callable[[Array], Array], rows: int, low: float, high: float, *, strict: bool = True
) -> Array:
    """Where each row of a function of (R, G) is lowest, by a grid that closes in and a last parabola.

    Args:
        function: Maps points (R, G) to values of that shape.
        rows: R.
        low: Where the search begins.
        high: Where it ends.
        strict: Raise where the lowest point lies at an end; else that row gets -inf or inf.

    Raises:
        LawError: The lowest point lies at an end.
    """
    bottom, top = np.full(rows, low), np.full(rows, high)
    index = np.arange(rows)
    for _ in range(8):
        x = bottom[:, None] + (top - bottom)[:, None] * np.linspace(0, 1, 65)
        best = np.clip(np.argmin(function(x), axis=1), 1, 63)
        bottom, top = x[index, best - 1], x[index, best + 1]
        if (top - bottom).max() < 1e-3:
            break
    if strict and ((bottom <= low) | (top >= high)).any():
        raise LawError(
            f"no optimum between {np.exp(low):.3g} and {np.exp(high):.3g} parameters: expected a cost that rises on "
            "both sides. Check the law's coefficients; of a fit, add runs on both sides of the minima."
        )
    x = np.stack([bottom, 0.5 * (bottom + top), top], axis=1)
    y = function(x)
    bend = y[:, 0] - 2 * y[:, 1] + y[:, 2]
    shift = np.where(bend > 0, 0.5 * (y[:, 0] - y[:, 2]) / np.where(bend > 0, bend, 1.0), 0.0)
    found = x[:, 1] + shift * (x[:, 2] - x[:, 1])
    return np.where(bottom <= low, -np.inf, np.where(top >= high, np.inf, found))


def _loss_along(
    form: Form,
    named: Mapping[str, Array],
    params: Array,
    flops: Array,
    shapes: ShapeRule,
    extra: Mapping[str, float] | None,
) -> Array:
    columns = {"params": params, "tokens": flops[:, None] / shapes.flops_per_token(params), **(extra or {})}
    with np.errstate(all="ignore"):
        loss = np.broadcast_to(form.loss(named, columns), params.shape)
    return np.where(np.isfinite(loss), loss, np.inf)
