"""What the solver is given: observations, weights, delta and limits of each row that it solves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tasks:
    """What each row minimises; an axis R of length 1 serves all rows.

    Attributes:
        observed: What predictions are compared with, shape (R, n).
        weights: Weight of each run, shape (R, n).
        delta: Huber's delta, inf for squares, shape (R, 1).
        low: Lower limits, shape (R, P).
        high: Upper limits, shape (R, P).
    """

    observed: Array
    weights: Array
    delta: Array
    low: Array
    high: Array

    def take(self, rows: NDArray[np.intp]) -> Tasks:
        """The tasks of some rows."""
        parts = (self.observed, self.weights, self.delta, self.low, self.high)
        return Tasks(*(part if len(part) == 1 else part[rows] for part in parts))
