"""Which run teaches most about a target per cost, the runs under way counted as seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.design.belief import Belief, shrink
from analysis.design.targets import Estimate

Array = NDArray[np.float64]


def gains(belief: Belief, target: Estimate, jacobian: Array, noise: Array) -> Array:
    """By how much one more run of each candidate lowers the mean variance of the target.

    For a normal belief the variance after a run does not depend on its loss: g' S g falls by
    (g' S j)^2 / (noise^2 + j' S j).

    Args:
        belief: What is known, with covariance S.
        target: Quantities with gradients g, shape (T, P).
        jacobian: Derivatives j of each candidate's loss, shape (n, P).
        noise: Standard deviation of each candidate's loss, shape (n,).

    Returns:
        Shape (n,).
    """
    along = jacobian @ belief.covariance
    spread = noise**2 + np.einsum("np,np->n", along, jacobian)
    shared = along @ target.gradient.T
    return np.asarray((shared**2).mean(axis=1) / spread)


def absorb(belief: Belief, jacobian: Array, noise: Array) -> Belief:
    """The belief after runs with these derivatives (m, P), whatever their losses: runs under way count as seen."""
    for row, sd in zip(jacobian, noise, strict=True):
        belief = shrink(belief, row, float(sd))
    return belief
