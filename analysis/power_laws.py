"""N*(C), D*(C) and L*(C) together: what approaches 1 and 2 both end in, and the optimum that they predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.errors import FitError
from analysis.fitting.optimum import Optimum
from analysis.fitting.shapes import ShapeRule
from analysis.frontier import LossFrontier
from analysis.results import Dropped, FitWarning, Interval
from analysis.table import Runs
from analysis.trend import Trend


@dataclass(frozen=True, kw_only=True)
class PowerLawFit:
    """Power laws of compute through optima, as approaches 1 and 2 find them.

    Attributes:
        runs: The runs fitted.
        level: Nominal level of every interval.
        shapes: FLOPs per token along the runs' own shapes.
        params_trend: N*(C) through the optima; None with fewer than two.
        tokens_trend: D*(C) likewise.
        params_trend_filtered: N*(C) through the optima that pass the approach's quality filter; None with fewer than
            two, or without a filter.
        tokens_trend_filtered: D*(C) likewise.
        frontier: L*(C) through the optima; None with fewer than two.
        dropped: Runs, points and curves left out, with reasons.
        warnings: What weakens the fit.
    """

    runs: Runs
    level: float
    shapes: ShapeRule
    params_trend: Trend | None
    tokens_trend: Trend | None
    params_trend_filtered: Trend | None
    tokens_trend_filtered: Trend | None
    frontier: LossFrontier | None
    dropped: tuple[Dropped, ...]
    warnings: tuple[FitWarning, ...]

    @property
    def exponents(self) -> dict[str, float | None]:
        """Exponents a of N* ∝ C^a and b of D* ∝ C^b through all optima, None without a fit."""
        return _exponents(self.params_trend, self.tokens_trend)

    @property
    def exponents_filtered(self) -> dict[str, float | None]:
        """The same through the optima that pass the quality filter."""
        return _exponents(self.params_trend_filtered, self.tokens_trend_filtered)

    @property
    def coefficients(self) -> dict[str, float | None]:
        """N* = N_prefactor C^N_exponent, D* = D_prefactor C^D_exponent, L* = L_floor + L_prefactor C^-L_exponent."""
        params, tokens, frontier = self.params_trend, self.tokens_trend, self.frontier
        return {
            "N_exponent": params.exponent if params else None,
            "N_prefactor": params.prefactor if params else None,
            "D_exponent": tokens.exponent if tokens else None,
            "D_prefactor": tokens.prefactor if tokens else None,
            "L_floor": frontier.floor if frontier else None,
            "L_prefactor": frontier.prefactor * float(frontier.flops.max()) ** frontier.gamma if frontier else None,
            "L_exponent": frontier.gamma if frontier else None,
        }

    @property
    def se(self) -> dict[str, float | None]:
        """Standard errors; those of the prefactors are of their logarithms, since nothing else is near normal."""
        params, tokens = self.params_trend, self.tokens_trend
        return {
            "N_exponent": params.exponent_se if params else None,
            "log_N_prefactor": params.log_prefactor_se if params else None,
            "D_exponent": tokens.exponent_se if tokens else None,
            "log_D_prefactor": tokens.log_prefactor_se if tokens else None,
        }

    @property
    def intervals(self) -> dict[str, Interval]:
        """Intervals of exponents and prefactors, t on k - 2 degrees of freedom; `a` and `b` are the exponents again."""
        found: dict[str, Interval] = {}
        for name, short, trend in (("N", "a", self.params_trend), ("D", "b", self.tokens_trend)):
            if trend is not None:
                found[f"{name}_exponent"] = found[short] = trend.exponent_interval(self.level)
                found[f"{name}_prefactor"] = trend.prefactor_interval(self.level)
        return found

    def optimum(self, flops: float, *, level: float | None = None) -> Optimum:
        """N*, D* and L* at C = `flops`, with intervals at `level` (the fit's own by default).

        N* is on the power law, D* = C / φ(N*) with φ the FLOPs per token along the runs' own shapes; its interval is
        that of N*, mapped.

        Raises:
            FitError: Fewer than two optima.
        """
        if self.params_trend is None or self.frontier is None:
            raise FitError(self._no_optimum())
        level = self.level if level is None else level

        def tokens(size: float | None) -> float | None:
            return None if size is None else float(flops / self.shapes.flops_per_token(np.array(size)))

        size, span = self.params_trend.at(flops), self.params_trend.interval_at(flops, level)
        return Optimum(
            flops=flops,
            params=size,
            tokens=float(flops / self.shapes.flops_per_token(np.array(size))),
            loss=self.frontier.at(flops),
            intervals={
                "params": span,
                "tokens": Interval(tokens(span.high), tokens(span.low), level, span.method),
                "loss": self.frontier.interval_at(flops, level),
            },
            shape_rule=self.shapes.description,
            extrapolation=flops / self.params_trend.range[1],
        )

    predict = optimum

    def _no_optimum(self) -> str:
        return "a prediction needs two optima, and this fit has fewer. Add budgets."


def _exponents(params: Trend | None, tokens: Trend | None) -> dict[str, float | None]:
    return {"a": params.exponent if params else None, "b": tokens.exponent if tokens else None}
