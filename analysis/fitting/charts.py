"""Coordinates in which a question about a fit is one coordinate, so that its profile is a search with that one held.

The additive law can be written in (ln N*, L*, ln E, alpha, beta) at a budget C, or in (a, alpha + beta, ...): N*, L*
and the exponent are then coordinates like any other, and an interval for one of them needs no linearisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.model import Model, Predictions
from analysis.fitting.optimum import optimal_params
from analysis.fitting.shapes import SIX_N, ShapeRule
from analysis.forms.additive import ADDITIVE
from analysis.forms.form import Chart
from analysis.forms.jet import Jet, Quantity, exp, log

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OptimumChart:
    """(ln N*, L* - E, ln E, alpha, beta) of the additive law at one budget; the second as ln of the excess.

    At the optimum alpha A N*^-alpha = kappa beta B D*^-beta, kappa = d ln phi / d ln N, which gives A and B back.

    Attributes:
        flops: Budget C.
        shapes: FLOPs per token.
        hold_loss: Make the second coordinate ln L* instead, for a profile of L*; E must then stay below it.
    """

    flops: float
    shapes: ShapeRule = SIX_N
    hold_loss: bool = False

    def coefficients(self, theta: Sequence[Quantity]) -> Sequence[Quantity]:
        """Coefficients (A, B, E, alpha, beta)."""
        x, second, log_floor, alpha, beta = theta
        floor = exp(log_floor)
        excess = exp(second) - floor if self.hold_loss else exp(second)
        balance = alpha / (self.shapes.elasticity(x) * beta)
        term_n = excess / (1.0 + balance)
        log_tokens = np.log(self.flops) - self.shapes.log_flops_per_token(x)
        return [term_n * exp(alpha * x), term_n * balance * exp(beta * log_tokens), floor, alpha, beta]

    def coordinates(self, coefficients: Sequence[Array]) -> Sequence[Array]:
        """See `Chart`."""
        rows = np.stack([np.atleast_1d(x) for x in coefficients], axis=1)
        return list(self.at_optimum(rows, optimal_params(ADDITIVE, rows, np.array([self.flops]), self.shapes)).T)

    def at_optimum(self, coefficients: Array, params: Array) -> Array:
        """Coordinates of coefficients (R, 5) whose optima N* (R,) are known, shape (R, 5)."""
        a, b, e, alpha, beta = coefficients.T
        tokens = self.flops / self.shapes.flops_per_token(params)
        excess = a * params**-alpha + b * tokens**-beta
        second = np.log(e + excess) if self.hold_loss else np.log(excess)
        return np.stack([np.log(params), second, np.log(e), alpha, beta], axis=1)


@dataclass(frozen=True)
class ExponentChart:
    """(term of N, term of D, ln E, a, alpha + beta) of the additive law, a = beta / (alpha + beta).

    Attributes:
        centre_n: Mean of ln N, where the N term is taken.
        centre_d: Mean of ln D.
    """

    centre_n: float
    centre_d: float

    def coefficients(self, theta: Sequence[Quantity]) -> Sequence[Quantity]:
        """Coefficients (A, B, E, alpha, beta)."""
        term_n, term_d, log_floor, a, total = theta
        alpha, beta = (1.0 - a) * total, a * total
        return [exp(term_n + alpha * self.centre_n), exp(term_d + beta * self.centre_d), exp(log_floor), alpha, beta]

    def coordinates(self, coefficients: Sequence[Array]) -> Sequence[Array]:
        """Coordinates of coefficients."""
        a, b, e, alpha, beta = coefficients
        return [
            np.log(a) - alpha * self.centre_n,
            np.log(b) - beta * self.centre_d,
            np.log(e),
            beta / (alpha + beta),
            alpha + beta,
        ]


@dataclass(frozen=True)
class _ChartedPredictions:
    """Predictions with derivatives with respect to a chart's coordinates."""

    inner: Predictions
    first: Array  # d theta / d phi, shape (R, P, P)
    second: Array | None  # d2 theta / d phi2, shape (R, P, P, P)
    value: Array = field(init=False)
    jacobian: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", self.inner.value)
        object.__setattr__(self, "jacobian", self.inner.jacobian @ self.first)

    def curvature(self, multipliers: Array) -> Array:
        """See `Predictions`: the chain rule's two parts."""
        assert self.second is not None
        pull = np.einsum("rn,rnk->rk", multipliers, self.inner.jacobian)
        straight = np.swapaxes(self.first, 1, 2) @ self.inner.curvature(multipliers) @ self.first
        return np.asarray(straight + np.einsum("rk,rkij->rij", pull, self.second))


class ChartedModel:
    """A model seen through a chart: the law's own derivatives, then the chain rule over P coordinates alone.

    Attributes:
        inner: Model in the coordinates of its problem.
        chart: The chart.
        shift: The problem's matrix from search to natural coordinates, shape (P, P).
    """

    def __init__(self, inner: Model, chart: Chart, shift: Array, positive: NDArray[np.bool_]) -> None:
        self.inner, self.chart = inner, chart
        self._back, self._positive = np.linalg.inv(shift), positive

    def inner_theta(self, phi: Array) -> Array:
        """The problem's coordinates at chart coordinates, shape (R, P)."""
        with np.errstate(all="ignore"):
            coefficients = np.stack(self.chart.coefficients(list(phi.T)), axis=1)
            natural = np.where(self._positive, np.log(coefficients), coefficients)
        return np.asarray(natural @ self._back.T)

    def value(self, theta: Array) -> Array:
        """See `Model`."""
        return self.inner.value(self.inner_theta(theta))

    def predictions(self, theta: Array, *, second_order: bool) -> _ChartedPredictions:
        """See `Model`."""
        with np.errstate(all="ignore"):
            jets = self.chart.coefficients(Jet.variables(theta, second_order=second_order))
            natural = [log(jet) if log_scale else jet for jet, log_scale in zip(jets, self._positive, strict=True)]
            rows, count = theta.shape
            first = np.stack([np.broadcast_to(jet.gradient, (rows, 1, count))[:, 0] for jet in natural], axis=1)
            second = None
            if second_order:
                parts = [np.broadcast_to(jet.hessian, (rows, 1, count, count))[:, 0] for jet in natural]
                second = np.einsum("kl,rlij->rkij", self._back, np.stack(parts, axis=1))
            inner = self.inner.predictions(self.inner_theta(theta), second_order=second_order)
        return _ChartedPredictions(inner, np.einsum("kl,rli->rki", self._back, first), second)
