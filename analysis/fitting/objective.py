"""What a fit minimises: Huber, least absolute deviation or squares, over log or linear residuals.

A coefficient means nothing without its objective, so every result carries it. Per residual r:

* Huber: r^2/2 inside delta, delta (|r| - delta/2) outside;
* least absolute deviation: |r|;
* squares: r^2/2.

Summed over runs, each times its weight; never averaged, since an average under a solver's default tolerance stops
early.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError

Array = NDArray[np.float64]
Space = Literal["log", "linear"]

AUTO_FACTOR = 1.345
"""delta in units of the noise: 95 % efficiency under Gaussian noise (Huber 1981, Robust Statistics)."""

DELTA_FLOOR = 1e-6
"""Least automatic delta (chosen): below any noise that a training run has, above rounding."""

LAD_DELTAS = tuple(float(delta) for delta in np.geomspace(1e-2, 1e-8, 7))
"""Huber's delta on the way to least absolute deviation; each fit starts at the one before."""


@dataclass(frozen=True, kw_only=True)
class Huber:
    """Huber's loss: squares near zero, absolute values beyond delta.

    Attributes:
        delta: Where it changes, in the residual's own unit; `auto` is 1.345 times the noise, from replicates where a
            point was run twice, else from the median absolute residual.
    """

    delta: float | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.delta != "auto" and not (isinstance(self.delta, (int, float)) and 0 < self.delta < math.inf):
            raise FitError(f"Huber delta {self.delta!r}: expected a positive number or 'auto'. Try Huber(delta=1e-3).")


@dataclass(frozen=True, kw_only=True)
class LeastAbsolute:
    """Sum of absolute residuals, the limit of Huber's loss for a small delta."""


@dataclass(frozen=True, kw_only=True)
class Squares:
    """Half the sum of squared residuals."""


Objective = Huber | LeastAbsolute | Squares


def parse_objective(text: str) -> Objective:
    """The objective of `huber:auto`, `huber:1e-3`, `lad` or `squares`.

    Raises:
        FitError: Another text.
    """
    kind, _, delta = text.partition(":")
    if kind == "lad" and not delta:
        return LeastAbsolute()
    if kind == "squares" and not delta:
        return Squares()
    if kind == "huber" and delta in ("", "auto"):
        return Huber()
    try:
        if kind == "huber":
            return Huber(delta=float(delta))
    except ValueError:
        pass
    raise FitError(f"objective {text!r}: expected huber:auto, huber:DELTA, lad or squares. Try huber:1e-3.")


def objective_name(objective: Objective) -> str:
    """Its kind in results: `huber`, `lad` or `squares`."""
    return {Huber: "huber", LeastAbsolute: "lad", Squares: "squares"}[type(objective)]


def objective_value(residuals: Array, weights: Array, delta: Array | float) -> Array:
    """Sum over the last axis; delta = 0 means absolute values, delta = inf half squares.

    Args:
        residuals: Shape (..., n).
        weights: Shape (..., n) or (n,).
        delta: Huber's delta, a number or of shape (..., 1).

    Returns:
        Shape (...).
    """
    size = np.abs(residuals)
    if np.ndim(delta) == 0 and delta == 0:
        return np.asarray((weights * size).sum(-1))
    inside = np.minimum(size, delta)
    return np.asarray((weights * inside * (size - 0.5 * inside)).sum(-1))


def noise_scale(residuals: Array, coefficients: int) -> float:
    """Standard deviation of the noise from the median absolute residual, unmoved by outliers.

    1.4826 turns the median absolute value of Gaussian noise into its standard deviation; sqrt(n / (n - P)) undoes
    what P fitted coefficients take out.
    """
    n = len(residuals)
    return float(1.4826 * np.median(np.abs(residuals)) * math.sqrt(n / max(n - coefficients, 1)))


def replicate_scale(residuals: Array, groups: NDArray[np.int64]) -> float | None:
    """Noise from runs of the same point; None where fewer than four degrees of freedom are replicated (chosen)."""
    counts = np.bincount(groups)
    freedom = int((counts - 1).clip(0).sum())
    if freedom < 4:
        return None
    means = np.bincount(groups, weights=residuals) / np.maximum(counts, 1)
    return float(math.sqrt(((residuals - means[groups]) ** 2).sum() / freedom))
