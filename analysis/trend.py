"""Power laws y = k C^a through a few optima, with the optima's own errors and the scatter between curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.results import Interval
from analysis.table import Array

Weights = Literal["equal", "errors"]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """y = k C^a through k points, as a straight line in logarithms.

    Attributes:
        centre: Mean of ln C; the line is held as its value there and its slope, whose errors are nearly independent.
        value: ln y at the centre.
        exponent: a.
        covariance: Of (value, exponent), shape (2, 2); None where two points leave nothing to estimate it from.
        own_exponent_se: Standard error of the exponent from the points' own errors alone; None where they are unknown.
        scatter: Standard deviation of ln y between curves beyond the points' own errors.
        degrees: Degrees of freedom, points - 2.
        range: Smallest and largest C.
    """

    centre: float
    value: float
    exponent: float
    covariance: Array | None
    own_exponent_se: float | None
    scatter: float
    degrees: int
    range: tuple[float, float]

    @property
    def prefactor(self) -> float:
        """k, in units of y per FLOP^a."""
        return float(np.exp(self.value - self.exponent * self.centre))

    @property
    def exponent_se(self) -> float | None:
        """Standard error of a."""
        return None if self.covariance is None else float(np.sqrt(self.covariance[1, 1]))

    @property
    def log_prefactor_se(self) -> float | None:
        """Standard error of ln k."""
        return self.log_se(1.0)

    def at(self, flops: float) -> float:
        """Value of the line at C = `flops`."""
        return float(np.exp(self.value + self.exponent * (np.log(flops) - self.centre)))

    def log_se(self, flops: float) -> float | None:
        """Standard error of ln y at C = `flops`, of the line and not of a new curve."""
        if self.covariance is None:
            return None
        row = np.array([1.0, np.log(flops) - self.centre])
        return float(np.sqrt(row @ self.covariance @ row))

    def exponent_interval(self, level: float) -> Interval:
        """Interval (t) of a."""
        return t_interval(self.exponent, self.exponent_se, self.degrees, level)

    def prefactor_interval(self, level: float) -> Interval:
        """Interval (t) of k, made in logarithms."""
        return self.interval_at(1.0, level)

    def interval_at(self, flops: float, level: float) -> Interval:
        """Interval (t) of y at C = `flops`, made in logarithms."""
        log = t_interval(np.log(self.at(flops)), self.log_se(flops), self.degrees, level)
        return Interval(low=_exp(log.low), high=_exp(log.high), level=level, method="t")


def fit_trend(flops: Array, values: Array, *, log_se: Array | None = None, weights: Weights = "equal") -> Trend:
    """Fit y = k C^a to at least two points at different C.

    The variance of ln y at a point is v_i + τ²: its own error and the scatter between curves, τ² by the method of
    moments from the equally weighted line (Hedges' estimator with one regressor) and never negative. With equal weights
    the line is ordinary least squares, whose slope does not hang on how well the v_i are known.

    The covariance takes its shape from v_i + τ² and its scale from the residuals about the line, so that t on k - 2
    degrees of freedom covers as often as it says (Knapp and Hartung 2003). Keeping the scale at 1 or above would cover
    more than 97 % at a nominal 90 % with three to five curves.

    Args:
        flops: C, shape (k,).
        values: y, shape (k,).
        log_se: Standard errors of ln y, shape (k,); None for unknown, then all variance is scatter.
        weights: `equal`, or `errors` for 1 / (v_i + τ²).
    """
    own = np.zeros(len(flops)) if log_se is None else log_se**2
    x, y = np.log(flops), np.log(values)
    centre = float(x.mean())
    X = np.stack([np.ones_like(x), x - centre], axis=1)
    project = np.linalg.pinv(X)
    degrees = len(x) - 2
    expected = (1 - np.einsum("ki,ik->k", X, project)) @ own
    squares = float(((y - X @ (project @ y)) ** 2).sum())
    scatter = max(0.0, (squares - expected) / degrees) if degrees > 0 else 0.0
    variance = own + scatter
    scale = squares / expected if scatter == 0 and expected > 0 else 1.0
    if weights == "errors" and (variance > 0).all():
        root = 1 / np.sqrt(variance)
        project = np.linalg.pinv(X * root[:, None]) * root
        scale = float((((y - X @ (project @ y)) * root) ** 2).sum() / max(degrees, 1))
    value, exponent = project @ y
    return Trend(
        centre=centre,
        value=float(value),
        exponent=float(exponent),
        covariance=scale * (project * variance) @ project.T if degrees > 0 else None,
        own_exponent_se=None if log_se is None else float(np.sqrt(project[1] ** 2 @ own)),
        scatter=float(np.sqrt(scatter)),
        degrees=degrees,
        range=(float(flops.min()), float(flops.max())),
    )


def t_interval(estimate: float, se: float | None, degrees: float, level: float) -> Interval:
    """The interval estimate ± t · se; open without a standard error or degrees of freedom."""
    if se is None or degrees <= 0:
        return Interval(low=None, high=None, level=level, method="t")
    half = t_quantile(degrees, level) * se
    return Interval(low=float(estimate - half), high=float(estimate + half), level=level, method="t")


def t_quantile(degrees: float, level: float) -> float:
    """Two-sided quantile of Student's t at `level`."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))


def _exp(value: float | None) -> float | None:
    """exp, open where the end leaves the range of floating point."""
    return None if value is None or abs(value) > 700 else float(np.exp(value))
