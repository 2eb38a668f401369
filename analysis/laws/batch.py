"""Critical batch size from runs that reach one loss at several batch sizes.

McCandlish et al. 2018 (arXiv:1812.06162): (S / S_min - 1)(E / E_min - 1) = 1 for S steps and E = B S examples, which is
S = S_min + E_min / B; the critical batch E_min / S_min costs twice the least of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.parametric import FormFit, fit_form
from analysis.results import Interval
from analysis.table import Runs

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CriticalBatch:
    """What a loss costs at any batch size.

    Attributes:
        batch: Critical batch, in the unit of the batches given.
        interval: Its interval.
        least_steps: S_min, at very large batches.
        least_examples: E_min, at very small ones.
        fit: The fit of steps against batch.
    """

    batch: float
    interval: Interval
    least_steps: float
    least_examples: float
    fit: FormFit

    def steps(self, batch: Array | float) -> Array:
        """Steps to the loss at a batch size."""
        return np.asarray(self.least_steps + self.least_examples / np.asarray(batch))


def critical_batch(batch: Array, steps: Array, level: float = 0.9) -> CriticalBatch:
    """Fit the critical batch size.

    Args:
        batch: Batch sizes (tokens or sequences), shape (n,).
        steps: Steps until the same loss, shape (n,).
        level: Level of the interval.

    Raises:
        FitError: Fewer than three batch sizes, or values that are not positive.
    """
    batch, steps = np.asarray(batch, dtype=np.float64), np.asarray(steps, dtype=np.float64)
    if len(np.unique(batch)) < 3:
        raise FitError(f"{len(np.unique(batch))} batch sizes: expected at least three that reach the loss. Add some.")
    frame = pd.DataFrame({"params": 1.0, "tokens": batch, "flops": batch, "loss": steps})
    fit = fit_form(Runs(frame=frame), "saturating-tokens", fixed={"alpha": 1.0})
    least_steps, least_examples = fit.coefficients["E"], fit.coefficients["A"]
    value = least_examples / least_steps
    return CriticalBatch(
        batch=value,
        interval=_ratio_interval(fit, value, level),
        least_steps=least_steps,
        least_examples=least_examples,
        fit=fit,
    )


def _ratio_interval(fit: FormFit, value: float, level: float) -> Interval:
    """Interval of A / E by the derivatives of its logarithm."""
    from scipy.special import stdtrit

    covariance = fit.sandwich()
    names = covariance.names
    slope = np.zeros(len(names))
    slope[names.index("A")] = 1 / fit.coefficients["A"]
    slope[names.index("E")] = -1 / fit.coefficients["E"]
    se = float(np.sqrt(slope @ covariance.matrix @ slope))
    width = float(stdtrit(covariance.freedom, 0.5 + level / 2)) * se
    return Interval(value * float(np.exp(-width)), value * float(np.exp(width)), level, "t with sandwich, in logs")
