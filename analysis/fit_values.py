"""What a fit of a form answers with: what was minimised, a covariance, predictions; and intervals as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.objective import Space
from analysis.results import Interval

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Minimised:
    """What was minimised, and its value at the minimum.

    Attributes:
        kind: `huber`, `lad` or `squares`.
        delta: Huber's delta as used; None for the others.
        space: `log` or `linear` residuals.
        value: Sum over runs (never an average).
    """

    kind: str
    delta: float | None
    space: Space
    value: float


@dataclass(frozen=True, kw_only=True)
class Covariance:
    """Sandwich covariance of the coefficients.

    Attributes:
        names: Coefficients, in order.
        matrix: Shape (P, P); zeros for fixed ones.
        noise: Standard deviation of the noise, in the space of the residuals.
        freedom: Degrees of freedom, n - P.
    """

    names: tuple[str, ...]
    matrix: Array
    noise: float
    freedom: int

    @property
    def se(self) -> dict[str, float]:
        """Standard error of each coefficient."""
        return dict(zip(self.names, np.sqrt(np.maximum(np.diag(self.matrix), 0.0)).tolist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Predicted loss of runs that were not fitted.

    Attributes:
        loss: Shape (m,).
        low: Lower end of the interval for one new run's loss, shape (m,).
        high: Upper end, shape (m,).
        level: Nominal coverage.
    """

    loss: Array
    low: Array
    high: Array
    level: float


def interval_json(interval: Interval) -> dict[str, Any]:
    """Plain values of an interval; an open end is null."""
    return {"low": interval.low, "high": interval.high, "level": interval.level, "method": interval.method}
