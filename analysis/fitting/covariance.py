"""Covariance of fitted coordinates: under equal noise, and the sandwich that stays right when noise differs by run.

Huber's psi takes the place of the residual, and the share of residuals inside delta that of psi's derivative (Huber
1981, section 7.6). Scores are divided by a power of 1 - leverage, without which the sandwich is too small for samples
of tens: 1/2 is known as HC2 and 1 as HC3 (MacKinnon and White 1985). Clusters' scores are summed first, and corrected
by their block of the hat matrix (Bell and McCaffrey 2002).

Shapes: R fits at once, n runs, F free coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Groups = NDArray[np.int64]

LEVERAGE_POWER = 0.75
"""Between HC2, whose intervals cover too little in the coverage study, and HC3, whose cover too much (chosen there)."""

CLUSTER_POWER = 0.5
"""For clusters, with Student's t on their number less one (chosen there as well; known as CR2)."""

BANDWIDTH = 1.345
"""psi's slope is measured over residuals within this many standard deviations of the noise, or within delta if larger.

Over delta alone hardly a residual decides under a small delta; over all of them, runs of larger noise count too much.
"""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What covariances are made of.

    Attributes:
        jacobian: Of the free coordinates, shape (R, n, F).
        psi: Residuals clipped at delta, shape (R, n).
        slope: Derivative of psi, averaged over the bandwidth, shape (R, n).
        weights: Shape (R, n).
    """

    jacobian: Array
    psi: Array
    slope: Array
    weights: Array

    @property
    def noise(self) -> Array:
        """Variance s^2 by which twice the objective's rise is a chi-square under equal noise, shape (R,)."""
        n, count = self.jacobian.shape[1:]
        spread = (self.weights * self.psi**2).sum(1) / max(n - count, 1)
        return np.asarray(spread * self.weights.sum(1) / np.maximum((self.weights * self.slope).sum(1), 1e-300))

    @property
    def bread(self) -> Array:
        """Inverse of the expected Hessian, shape (R, F, F)."""
        return _inverse(self.jacobian, self.weights * self.slope)


def _inverse(jacobian: Array, weights: Array) -> Array:
    weighted = jacobian * weights[..., None]
    return np.asarray(np.linalg.pinv(weighted.transpose(0, 2, 1) @ jacobian, hermitian=True))


def collect_scores(jacobian: Array, residuals: Array, weights: Array, delta: Array | float) -> Scores:
    """Scores of fits.

    Args:
        jacobian: Of the free coordinates, shape (R, n, F).
        residuals: Shape (R, n).
        weights: Shape (R, n) or (1, n).
        delta: Huber's delta, a number or of shape (R, 1); inf for squares.
    """
    size = np.abs(residuals)
    n, count = jacobian.shape[1:]
    scale = 1.4826 * np.median(size, axis=1, keepdims=True) * np.sqrt(n / max(n - count, 1))
    width = np.maximum(delta, BANDWIDTH * scale)
    finite = np.isfinite(width)
    slope = (size <= width) * np.where(finite, np.where(finite, delta, 1.0) / np.where(finite, width, 1.0), 1.0)
    weights = np.broadcast_to(weights, residuals.shape)
    return Scores(jacobian=jacobian, psi=np.clip(residuals, -np.asarray(delta), delta), slope=slope, weights=weights)


def model_covariance(scores: Scores) -> Array:
    """Covariance under equal, independent noise, shape (R, F, F)."""
    return np.asarray(scores.bread * scores.noise[:, None, None])


def sandwich_covariance(scores: Scores, clusters: Groups | None = None) -> Array:
    """Covariance that allows noise to differ between runs, or to be shared within clusters.

    Args:
        scores: Scores of R fits.
        clusters: Number of each run's cluster, shape (n,); None for every run its own.

    Returns:
        Shape (R, F, F).
    """
    bread = scores.bread
    root = np.sqrt(scores.weights)
    design = scores.jacobian * root[..., None]
    hat = _inverse(design, np.ones_like(root))
    if clusters is None or len(np.unique(clusters)) == scores.jacobian.shape[1]:
        leverage = np.einsum("rnk,rkl,rnl->rn", design, hat, design)
        psi = root * scores.psi / np.maximum(1 - leverage, 0.01) ** LEVERAGE_POWER
        corrected = design * psi[..., None]
        meat = corrected.transpose(0, 2, 1) @ corrected
    else:
        meat = _cluster_meat(design, hat, root * scores.psi, clusters)
    return np.asarray(bread @ meat @ bread)


def _cluster_meat(design: Array, hat: Array, psi: Array, clusters: Groups) -> Array:
    """Sum over clusters of the outer products of their scores, residuals times (I - H)^-power of their block."""
    meat = np.zeros_like(hat)
    for group in np.unique(clusters):
        rows = np.flatnonzero(clusters == group)
        block = design[:, rows]
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - block @ hat @ block.transpose(0, 2, 1))
        powers = np.maximum(values, 0.01) ** -(CLUSTER_POWER if len(rows) > 1 else LEVERAGE_POWER)
        corrected = vectors @ (powers[..., None] * (vectors.transpose(0, 2, 1) @ psi[:, rows, None]))
        score = (block.transpose(0, 2, 1) @ corrected)[..., 0]
        meat += score[:, :, None] * score[:, None, :]
    return meat
