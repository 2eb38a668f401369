"""Ordinary regression with honest errors, for laws that are straight in logarithms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.fitting.covariance import Groups, collect_scores, sandwich_covariance
from analysis.results import Interval

Array = NDArray[np.float64]

CONSTANT = "constant"


@dataclass(frozen=True, kw_only=True)
class Regression:
    """y = constant + sum slope x.

    Attributes:
        slopes: Of each input, and `constant`.
        covariance: Sandwich covariance in that order, shape (P, P).
        freedom: Degrees of freedom.
        residuals: Shape (n,).
    """

    slopes: Mapping[str, float]
    covariance: Array
    freedom: int
    residuals: Array

    @property
    def se(self) -> dict[str, float]:
        """Standard error of each slope."""
        return dict(zip(self.slopes, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))

    def predict(self, inputs: Mapping[str, Array | float]) -> Array:
        """Y at these inputs."""
        total = sum(slope * np.asarray(inputs[name]) for name, slope in self.slopes.items() if name != CONSTANT)
        return np.asarray(total + self.slopes[CONSTANT])

    def interval(self, name: str, level: float = 0.9) -> Interval:
        """Interval of a slope, by Student's t."""
        from scipy.special import stdtrit

        k = list(self.slopes).index(name)
        width = float(stdtrit(self.freedom, 0.5 + level / 2)) * float(np.sqrt(self.covariance[k, k]))
        return Interval(self.slopes[name] - width, self.slopes[name] + width, level, "t with sandwich")


def regress(inputs: Mapping[str, Array], y: Array, *, clusters: Groups | None = None) -> Regression:
    """Least squares of y, shape (n,), on named inputs and a constant.

    Args:
        inputs: Each of shape (n,).
        y: Shape (n,).
        clusters: Number of each point's unit of shared noise, shape (n,); None for every point its own.

    Raises:
        FitError: Not more points than slopes, or inputs that can't be told apart.
    """
    names = (*inputs, CONSTANT)
    design = np.column_stack([*inputs.values(), np.ones(len(y))])
    if len(y) <= len(names):
        raise FitError(f"{len(y)} points for {len(names)} slopes: expected at least {len(names) + 1}. Add points.")
    centred = design - np.append(design[:, :-1].mean(0), 0.0)
    if np.linalg.matrix_rank(centred) < len(names):
        raise FitError(f"{', '.join(inputs)} don't vary independently: expected them to. Add points off their line.")
    slopes = np.linalg.lstsq(design, y, rcond=None)[0]
    residuals = y - design @ slopes
    scores = collect_scores(design[None], residuals[None], np.ones((1, len(y))), np.inf)
    return Regression(
        slopes=dict(zip(names, slopes.tolist(), strict=True)),
        covariance=sandwich_covariance(scores, clusters)[0],
        freedom=min(len(y), len(y) if clusters is None else len(np.unique(clusters))) - len(names),
        residuals=residuals,
    )
