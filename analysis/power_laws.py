"""N*(C), D*(C) and L*(C) together: what approaches 1 and 2 both end in, and the optimum that they predict."""

from __future__ import annotations

import numpy as np

from analysis.fitting.optimum import Optimum
from analysis.fitting.shapes import ShapeRule
from analysis.frontier import LossFrontier
from analysis.results import Interval
from analysis.trend import Trend


def exponents(params: Trend | None, tokens: Trend | None) -> dict[str, float | None]:
    """Exponents a of N* ∝ C^a and b of D* ∝ C^b, None without a fit."""
    return {"a": params.exponent if params else None, "b": tokens.exponent if tokens else None}


def coefficients(params: Trend | None, tokens: Trend | None, frontier: LossFrontier | None) -> dict[str, float | None]:
    """N* = N_prefactor C^N_exponent, D* = D_prefactor C^D_exponent, L* = L_floor + L_prefactor C^-L_exponent."""
    return {
        "N_exponent": params.exponent if params else None,
        "N_prefactor": params.prefactor if params else None,
        "D_exponent": tokens.exponent if tokens else None,
        "D_prefactor": tokens.prefactor if tokens else None,
        "L_floor": frontier.floor if frontier else None,
        "L_prefactor": frontier.prefactor * float(frontier.flops.max()) ** frontier.gamma if frontier else None,
        "L_exponent": frontier.gamma if frontier else None,
    }


def standard_errors(params: Trend | None, tokens: Trend | None) -> dict[str, float | None]:
    """Standard errors; those of the prefactors are of their logarithms, since nothing else is near normal."""
    return {
        "N_exponent": params.exponent_se if params else None,
        "log_N_prefactor": params.log_prefactor_se if params else None,
        "D_exponent": tokens.exponent_se if tokens else None,
        "log_D_prefactor": tokens.log_prefactor_se if tokens else None,
    }


def intervals(params: Trend | None, tokens: Trend | None, level: float) -> dict[str, Interval]:
    """Intervals of exponents and prefactors, t on k - 2 degrees of freedom; `a` and `b` are the exponents again."""
    found: dict[str, Interval] = {}
    for name, short, trend in (("N", "a", params), ("D", "b", tokens)):
        if trend is not None:
            found[f"{name}_exponent"] = found[short] = trend.exponent_interval(level)
            found[f"{name}_prefactor"] = trend.prefactor_interval(level)
    return found


def optimum(flops: float, params: Trend, frontier: LossFrontier, shapes: ShapeRule, level: float) -> Optimum:
    """N*, D* = C / φ(N*) and L* at C = `flops`, with intervals at `level`.

    D* follows from N* by φ, the FLOPs per token along the runs' own shapes; its interval is that of N*, mapped.
    """

    def tokens(size: float | None) -> float | None:
        return None if size is None else float(flops / shapes.flops_per_token(np.array(size)))

    size, span = params.at(flops), params.interval_at(flops, level)
    return Optimum(
        flops=flops,
        params=size,
        tokens=float(flops / shapes.flops_per_token(np.array(size))),
        loss=frontier.at(flops),
        intervals={
            "params": span,
            "tokens": Interval(tokens(span.high), tokens(span.low), level, span.method),
            "loss": frontier.interval_at(flops, level),
        },
        shape_rule=shapes.description,
        extrapolation=flops / params.range[1],
    )
