"""What the runs are for: quantities of the surface, with their derivatives, whose variance is to fall."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.design.surface import Columns, Surface
from analysis.errors import LawError
from analysis.fitting.shapes import SIX_N

Array = NDArray[np.float64]

STEP = 0.02
"""Step in ln N of the differences at an optimum (chosen: truncation and rounding are both below 1e-4 there)."""

GRID_DECADES = 4.0
"""Decades of N on each side of the middle that are searched for an optimum (chosen)."""


@dataclass(frozen=True)
class Estimate:
    """T quantities at once.

    Attributes:
        value: Shape (T,).
        gradient: In the surface's coordinates, shape (T, P).
    """

    value: Array
    gradient: Array

    def variances(self, covariance: Array) -> Array:
        """Variance of each quantity, shape (T,)."""
        return np.asarray(np.einsum("tp,pq,tq->t", self.gradient, covariance, self.gradient))


class Target(Protocol):
    """A quantity, or several whose mean variance counts."""

    def estimate(self, surface: Surface, theta: Array) -> Estimate:
        """The quantities at these coordinates.

        Raises:
            LawError: The surface has no such quantity there.
        """


FlopsPerToken = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Where a surface is lowest at a budget.

    Attributes:
        flops: Budget C.
        near: A size from which the search reaches `GRID_DECADES` both ways.
        flops_per_token: FLOPs per token at N; 6 N unless given.
        extra: Values of the surface's other columns.
    """

    flops: float
    near: float
    flops_per_token: FlopsPerToken = SIX_N.flops_per_token
    extra: Mapping[str, float] = field(default_factory=dict)

    def columns(self, log_params: Array) -> Columns:
        """Points of the budget's curve."""
        params = np.exp(log_params)
        return {
            "params": params,
            "tokens": self.flops / self.flops_per_token(params),
            **{name: np.full(len(params), value) for name, value in self.extra.items()},
        }

    def find(self, surface: Surface, theta: Array) -> float:
        """Logarithm of N*: a grid that closes in, then the parabola through its last three points.

        Raises:
            LawError: Lowest at an end.
        """
        reach = GRID_DECADES * np.log(10)
        low = first = np.log(self.near) - reach
        high = last = np.log(self.near) + reach
        for _ in range(3):
            x = np.linspace(low, high, 41)
            y, _ = surface.predict(theta, self.columns(x))
            best = int(np.clip(np.argmin(np.where(np.isfinite(y), y, np.inf)), 1, 39))
            low, high = x[best - 1], x[best + 1]
        if low <= first or high >= last:
            raise LawError(
                f"no optimum at {self.flops:.3g} FLOPs within {GRID_DECADES:g} decades of {self.near:.3g} parameters: "
                "expected a loss that rises on both sides. Give a nearer target, or more runs."
            )
        bend = y[best - 1] - 2 * y[best] + y[best + 1]
        shift = 0.5 * (y[best - 1] - y[best + 1]) / bend if bend > 0 else 0.0
        return float(x[best] + shift * (x[1] - x[0]))


@dataclass(frozen=True)
class LogParams:
    """ln N*(C). Its derivative is that of a minimum: -(d2L/dn dtheta) / (d2L/dn2)."""

    optimum: Optimum

    def estimate(self, surface: Surface, theta: Array) -> Estimate:
        """See `Target`."""
        at = self.optimum.find(surface, theta)
        loss, jacobian = surface.predict(theta, self.optimum.columns(at + np.array([-STEP, 0.0, STEP])))
        curvature = (loss[0] - 2 * loss[1] + loss[2]) / STEP**2
        if not curvature > 0:
            raise LawError(
                f"the surface is flat around its optimum at {self.optimum.flops:.3g} FLOPs; expected a loss "
                "that rises on both sides. Give a nearer target, or more runs."
            )
        gradient = -(jacobian[2] - jacobian[0]) / (2 * STEP) / curvature
        return Estimate(np.array([at]), gradient[None])


@dataclass(frozen=True)
class Exponent:
    """d ln N* / d ln C at C, over a factor of e around it."""

    optimum: Optimum

    def estimate(self, surface: Surface, theta: Array) -> Estimate:
        """See `Target`."""
        ends = []
        for flops in self.optimum.flops * np.exp([-0.5, 0.5]):
            moved = Optimum(
                flops=float(flops),
                near=self.optimum.near,
                flops_per_token=self.optimum.flops_per_token,
                extra=self.optimum.extra,
            )
            ends.append(LogParams(moved).estimate(surface, theta))
        return Estimate(ends[1].value - ends[0].value, ends[1].gradient - ends[0].gradient)


@dataclass(frozen=True)
class LossThere:
    """The loss of the compute-optimal model at C, in the surface's units; N* itself adds nothing to first order."""

    optimum: Optimum

    def estimate(self, surface: Surface, theta: Array) -> Estimate:
        """See `Target`."""
        at = self.optimum.find(surface, theta)
        return Estimate(*surface.predict(theta, self.optimum.columns(np.array([at]))))


@dataclass(frozen=True)
class Region:
    """The loss at given rows: the mean of its variances is what V-optimal designs lower."""

    columns: Columns

    def estimate(self, surface: Surface, theta: Array) -> Estimate:
        """See `Target`."""
        return Estimate(*surface.predict(theta, self.columns))
