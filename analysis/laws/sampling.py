"""Coverage against samples at inference: the share of problems that at least one of k samples solves.

This is no scaling law of training: it says nothing of loss, and no law says that loss falls as a power of test-time
compute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.laws.regression import Regression, regress

Array = NDArray[np.float64]


def pass_at_k(correct: Array, samples: int, k: Array) -> Array:
    """Unbiased coverage at k from n samples per problem: 1 - C(n - c, k) / C(n, k), averaged over problems.

    Chen et al. 2021 (arXiv:2107.03374, equation 1).

    Args:
        correct: Correct samples c of each problem, shape (problems,).
        samples: Samples n of each problem.
        k: Numbers of samples, each at most n, shape (m,).

    Returns:
        Shape (m,).

    Raises:
        FitError: More correct than samples, or k beyond n.
    """
    correct, k = np.asarray(correct, dtype=np.float64), np.asarray(k, dtype=np.float64)
    if (correct < 0).any() or (correct > samples).any() or (k < 1).any() or (k > samples).any():
        raise FitError(
            f"correct or k lies outside the {samples} samples: expected 0 <= correct and 1 <= k <= samples. Check both."
        )
    from scipy.special import gammaln

    wrong = samples - correct[:, None]
    enough = wrong >= k
    left = np.where(enough, wrong, k)
    ratio = gammaln(left + 1) - gammaln(left - k + 1) - gammaln(samples + 1) + gammaln(samples - k + 1)
    return np.asarray(1 - np.where(enough, np.exp(ratio), 0.0).mean(0))


@dataclass(frozen=True, kw_only=True)
class CoverageLaw:
    """coverage = exp(a k^b), Brown et al. 2024 (arXiv:2407.21787, equation 3).

    Attributes:
        a: Logarithm of coverage at one sample, negative.
        b: Power, negative.
        regression: ln(-ln coverage) on ln k, for intervals of b.
    """

    a: float
    b: float
    regression: Regression

    def coverage(self, k: Array | float) -> Array:
        """Predicted coverage at k samples."""
        return np.asarray(np.exp(self.a * np.asarray(k, dtype=np.float64) ** self.b))


def fit_coverage(k: Array, coverage: Array) -> CoverageLaw:
    """Fit coverage against samples.

    Raises:
        FitError: Fewer than four values of k, or coverages outside (0, 1).
    """
    k, coverage = np.asarray(k, dtype=np.float64), np.asarray(coverage, dtype=np.float64)
    if len(k) < 4 or not ((coverage > 0) & (coverage < 1)).all():
        raise FitError(f"{len(k)} coverages: expected at least four, strictly between 0 and 1. Leave the others out.")
    fit = regress({"log_k": np.log(k)}, np.log(-np.log(coverage)))
    return CoverageLaw(a=-float(np.exp(fit.slopes["constant"])), b=fit.slopes["log_k"], regression=fit)
