"""What is believed of a surface's coordinates: a prior, and the normal approximation after runs were seen.

The posterior is Laplace's: the mode of prior times likelihood by damped Gauss-Newton steps, and the inverse of its
information J' W J + prior precision. The noise is unknown: each group of runs (a curve) has its own variance, drawn
towards the common one, and that towards a prior of a few degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.design.surface import Columns, LinearSurface, Surface

Array = NDArray[np.float64]

MAX_STEPS = 40
TOLERANCE = 1e-5
"""A step that promises to lower minus twice the log posterior by less ends the search: far below any standard error."""

GROUP_DEGREES = 6.0
"""Degrees of freedom by which a group's variance is drawn towards the common one (chosen)."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """A prior of the noise: a scaled inverse chi-squared of its variance.

    Attributes:
        sd: Standard deviation of one run, in the surface's units.
        degrees: Degrees of freedom: how many runs this guess is worth.
    """

    sd: float
    degrees: float


@dataclass(frozen=True, kw_only=True)
class Prior:
    """A normal prior of the coordinates, shapes (P,), and of the noise."""

    mean: Array
    sd: Array
    noise: Noise


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Runs that were seen; replicates may be one row with their number as its count.

    Attributes:
        columns: Columns that the surface reads, shape (n,) each.
        loss: Mean loss of each row, shape (n,).
        count: Runs behind each row, shape (n,).
        squares: Sum of squares of the runs of a row about their mean, shape (n,).
        group: Whose noise a row shares, shape (n,).
    """

    columns: Columns
    loss: Array
    count: Array
    squares: Array
    group: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Belief:
    """A normal approximation of what is known.

    Attributes:
        surface: The family of laws.
        theta: Most probable coordinates, shape (P,).
        covariance: Shape (P, P).
        noise: Standard deviation of one run of each group, by its number; others have `common`.
        common: Standard deviation of one run of a group that has not been seen.
        degrees: Degrees of freedom behind the noise.
        misfit: Sum of squared standardised residuals of the rows.
        residuals: Of the rows, in their standard errors, shape (n,).
        surprise: Minus twice the logarithm of the runs' probability before they were seen, by Laplace's approximation, up to a
            constant of the runs: of two priors the likelier has the smaller.
    """

    surface: Surface
    theta: Array
    covariance: Array
    noise: dict[int, float]
    common: float
    degrees: float
    misfit: float
    residuals: Array
    surprise: float

    def noise_of(self, group: NDArray[np.int64]) -> Array:
        """Standard deviation of one run of each group, shape (n,)."""
        return np.array([self.noise.get(int(g), self.common) for g in np.unique(group)])[
            np.unique(group, return_inverse=True)[1]
        ]

    def variance_along(self, gradient: Array) -> float:
        """Variance of a quantity with this gradient, shape (P,)."""
        return float(gradient @ self.covariance @ gradient)


def believe(surface: Surface, prior: Prior) -> Belief:
    """What is believed before any run."""
    return Belief(
        surface=surface,
        theta=prior.mean,
        covariance=np.diag(prior.sd**2),
        noise={},
        common=prior.noise.sd,
        degrees=prior.noise.degrees,
        misfit=0.0,
        residuals=np.empty(0),
        surprise=0.0,
    )


def learn(
    surface: Surface, prior: Prior, evidence: Evidence, *, starts: Sequence[Array] = (), near: Array | None = None
) -> Belief:
    """What is believed after these runs.

    Args:
        surface: The family of laws.
        prior: Before them.
        evidence: The runs.
        starts: Coordinates to search from beside the prior's mean, shape (P,) each.
        near: Coordinates to search from in place of all these, shape (P,).
    """
    if len(evidence.loss) == 0:
        return believe(surface, prior)
    observed = surface.observed(evidence.loss)
    groups, member = np.unique(evidence.group, return_inverse=True)
    variances = np.full(len(groups), prior.noise.sd**2)
    begins = (prior.mean, *starts) if near is None else (near,)
    ends = [_mode(surface, prior, evidence, observed, variances[member], start) for start in begins]
    theta = min(ends, key=lambda end: end[1])[0]
    for _ in range(3):
        theta, _, residuals, information = _mode(surface, prior, evidence, observed, variances[member], theta)
        covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
        variances, common, degrees = _variances(prior, evidence, residuals, covariance, member, variances)
    standard = residuals * np.sqrt(evidence.count / variances[member])
    return Belief(
        surface=surface,
        theta=theta,
        covariance=covariance,
        noise=dict(zip(groups.tolist(), np.sqrt(variances).tolist(), strict=True)),
        common=float(np.sqrt(common)),
        degrees=degrees,
        misfit=float(standard @ standard),
        residuals=standard,
        surprise=float(standard @ standard) + _surprise(prior, evidence, theta, covariance, variances[member], common),
    )


def likeliest(surface: Surface, priors: Sequence[Prior], evidence: Evidence, near: Array) -> Prior:
    """The prior under which the runs were most to be expected, the earlier of equals; the law is made linear at `near`."""
    linear = LinearSurface(surface.names, near, *surface.predict(near, evidence.columns))
    seen = replace(evidence, loss=surface.observed(evidence.loss))
    return min(priors, key=lambda prior: learn(linear, prior, seen, near=near).surprise)


def _surprise(
    prior: Prior, evidence: Evidence, theta: Array, covariance: Array, variance: Array, common: float
) -> float:
    """Minus twice the log of the runs' probability, less their misfit: of the noise, of the seeds, and of the coordinates."""
    noise = evidence.count @ np.log(variance) + (evidence.squares / variance).sum()
    noise += prior.noise.degrees * (np.log(common) + prior.noise.sd**2 / common)
    off = (theta - prior.mean) / prior.sd
    return float(noise + off @ off + 2 * np.log(prior.sd).sum() - np.linalg.slogdet(covariance)[1])


def _mode(
    surface: Surface, prior: Prior, evidence: Evidence, observed: Array, variance: Array, start: Array
) -> tuple[Array, float, Array, Array]:
    """Mode from one start: coordinates, minus twice the log posterior, residuals, and the information there."""
    weights, precision = evidence.count / variance, 1 / prior.sd**2
    theta, diagonal = start, np.diag_indices(len(start))
    damping = 0.0 if isinstance(surface, LinearSurface) else 1e-3  # one step is exact there

    def examine(at: Array) -> tuple[float, Array, Array]:
        predicted, jacobian = surface.predict(at, evidence.columns)
        residuals, off = observed - predicted, at - prior.mean
        return float(weights @ residuals**2 + precision @ off**2), residuals, jacobian

    def inform(jacobian: Array) -> Array:
        information = jacobian.T @ (jacobian * weights[:, None])
        information[diagonal] += precision
        return information

    value, residuals, jacobian = examine(theta)
    information = inform(jacobian)
    for _ in range(MAX_STEPS):
        downhill = jacobian.T @ (weights * residuals) - precision * (theta - prior.mean)
        damped = information.copy()
        damped[diagonal] *= 1 + damping
        step = np.linalg.solve(damped, downhill)
        if not np.isfinite(step).all() or downhill @ step < TOLERANCE:
            break
        tried = examine(theta + step)
        if tried[0] < value:
            theta, damping = theta + step, damping / 5
            if tried[2] is not jacobian:  # a linear surface has one everywhere
                information = inform(tried[2])
            value, residuals, jacobian = tried
        else:
            damping *= 8
    return theta, value, residuals, information


def _variances(
    prior: Prior, evidence: Evidence, residuals: Array, covariance: Array, member: NDArray[np.intp], before: Array
) -> tuple[Array, float, float]:
    """Variance of one run by group, the common one, and the degrees of freedom behind it."""
    used = np.trace(covariance @ np.diag(1 / prior.sd**2))
    freedom = max(float(evidence.count.sum()) - (len(prior.mean) - used), 0.0)
    runs = np.bincount(member, evidence.count)
    squares = np.bincount(member, evidence.count * residuals**2 + evidence.squares)
    degrees = prior.noise.degrees + freedom
    common = (prior.noise.degrees * prior.noise.sd**2 + squares.sum()) / degrees
    own = runs * freedom / runs.sum()
    return (GROUP_DEGREES * common + squares) / (GROUP_DEGREES + own), common, degrees


def shrink(belief: Belief, jacobian: Array, noise: float) -> Belief:
    """What would be believed after one more run with this derivative (P,), whatever its loss."""
    along = belief.covariance @ jacobian
    return replace(belief, covariance=belief.covariance - np.outer(along, along) / (noise**2 + jacobian @ along))
