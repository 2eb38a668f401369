"""Profile intervals: the values of one coordinate at which the objective has not risen too far.

The objective is minimised over all other coordinates.

With z^2 = 2 (F(x) - F) / s^2 and s^2 the noise variance, z is Student's t with n - P degrees of freedom where noise is
Gaussian and equal, however bent the law is: nothing is linearised. Where noise differs between runs or is shared, z is
scaled by the ratio of the model's standard error to the sandwich's; where the sweep stopped by its own interval, also by
what `analysis.fitting.stopping` finds. An end at which the objective never rises
far enough is open.

Shapes: R points of a profile, P coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.covariance import Groups, collect_scores, model_covariance, sandwich_covariance
from analysis.fitting.model import Model
from analysis.fitting.newton import minimise
from analysis.fitting.stopping import stopping_factor
from analysis.fitting.tasks import Tasks
from analysis.results import Interval

Array = NDArray[np.float64]

NEAR_STEPS = np.array([0.5, 1.0, 1.5, 2.5])
FAR_STEPS = np.array([5.0, 10.0, 20.0, 40.0])
"""Distances from the minimum, in critical standard errors, that a profile looks at (chosen); far ones if needed."""

LIMIT_POINTS = 24
"""Values looked at between the minimum and a limit where standard errors are no guide (chosen)."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One coordinate of a fit, and what is needed to profile it.

    Attributes:
        model: Predictions as functions of the coordinates.
        theta: The fit's coordinates, shape (P,).
        tasks: What was minimised, one row.
        index: The coordinate that is asked about.
        low: Lower limit of that coordinate.
        high: Upper limit.
        ceiling: Upper limits of the other coordinates given this one's values (R,), shape (R, P); None for those of
            `tasks`.
        clusters: Number of each run's cluster, shape (n,).
        first_look: Runs after which the sweep may first have stopped by its own interval; None for never.
    """

    model: Model
    theta: Array
    tasks: Tasks
    index: int
    low: float = -np.inf
    high: float = np.inf
    ceiling: Callable[[Array], Array] | None = None
    clusters: Groups | None = None
    first_look: int | None = None

    @property
    def free(self) -> NDArray[np.intp]:
        """Coordinates that are not held, the one that is asked about among them."""
        held = (self.tasks.low[0] == self.tasks.high[0]) & (np.arange(len(self.theta)) != self.index)
        return np.flatnonzero(~held)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What turns a rise of the objective into z.

    Attributes:
        noise: Variance s^2 of the noise, times the share of residuals inside delta.
        se_model: Standard error of the coordinate under equal noise.
        se_sandwich: Its standard error by the sandwich.
        freedom: Degrees of freedom for t.
    """

    noise: float
    se_model: float
    se_sandwich: float
    freedom: int

    @property
    def ratio(self) -> float:
        """Sandwich over model standard error."""
        return self.se_sandwich / self.se_model if self.se_model > 0 else 1.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A profile and its interval.

    Attributes:
        values: Values of the coordinate, increasing, shape (k,).
        z: Signed root of the scaled rise at each, shape (k,).
        interval: Where |z| is below the critical value.
    """

    values: Array
    z: Array
    interval: Interval


def measure_scale(question: Question) -> Scale:
    """Noise and standard errors at the fit."""
    predictions = question.model.predictions(question.theta[None], second_order=False)
    tasks = question.tasks
    free = question.free
    where = int(np.flatnonzero(free == question.index)[0])
    residuals = tasks.observed - predictions.value
    scores = collect_scores(predictions.jacobian[:, :, free], residuals, tasks.weights, tasks.delta)
    model = float(model_covariance(scores)[0, where, where])
    sandwich = float(sandwich_covariance(scores, question.clusters)[0, where, where])
    n = residuals.shape[1]
    units = n if question.clusters is None else len(np.unique(question.clusters))
    freedom = min(n - len(free), units - (units < n))
    return Scale(
        noise=float(scores.noise[0]),
        se_model=float(np.sqrt(max(model, 0.0))),
        se_sandwich=float(np.sqrt(max(sandwich, 0.0))),
        freedom=max(freedom, 1),
    )


def profile(question: Question, level: float = 0.9, *, robust: bool = True) -> Profile:
    """Profile one coordinate and read its interval off.

    Args:
        question: The coordinate.
        level: Nominal coverage.
        robust: Scale by the sandwich.
    """
    from scipy.special import stdtrit  # quantile of t; scipy.stats takes half a second to import

    scale = measure_scale(question)
    widening = _widening(question, level)
    critical = float(stdtrit(scale.freedom, 0.5 + level / 2)) * widening * (scale.ratio if robust else 1.0)
    lower, upper = (_half(question, scale, sign * critical) for sign in (-1.0, 1.0))
    centre = np.array([question.theta[question.index]])
    method = "profile t" + (" with sandwich" if robust else "") + (", stops replayed" if widening > 1 else "")
    interval = Interval(lower[2], upper[2], level, method)
    return Profile(
        values=np.concatenate([lower[0][::-1], centre, upper[0]]),
        z=np.concatenate([lower[1][::-1], [0.0], upper[1]]) / (scale.ratio if robust else 1.0),
        interval=interval,
    )


def _widening(question: Question, level: float) -> float:
    """Factor on the interval of a sweep that stopped by one of its own."""
    if question.first_look is None:
        return 1.0
    jacobian = question.model.predictions(question.theta[None], second_order=False).jacobian[0][:, question.free]
    index = int(np.flatnonzero(question.free == question.index)[0])
    return stopping_factor(np.sqrt(question.tasks.weights.T) * jacobian, index, question.first_look, level)


def _half(question: Question, scale: Scale, wanted: float) -> tuple[Array, Array, float | None]:
    """One side of a profile, from the minimum outwards: values, signed roots, and where the root reaches `wanted`."""
    centre = float(question.theta[question.index])
    limit = question.low if wanted < 0 else question.high
    values, roots = np.empty(0), np.empty(0)
    at_limit = not question.low < centre < question.high
    for grid in _grids(centre, wanted * scale.se_model, limit, at_limit=at_limit):
        fresh = grid[~np.isin(grid, [*values, centre])]
        values, roots = np.append(values, fresh), np.append(roots, signed_roots(question, fresh, scale))
        if (np.abs(roots) >= abs(wanted)).any():
            break
    past = np.flatnonzero(np.abs(roots) >= abs(wanted))
    if len(past) == 0:
        return values, roots, None
    k = int(past[0])
    near = (centre, 0.0) if k == 0 else (values[k - 1], roots[k - 1])
    return values, roots, _crossing(question, scale, near, (values[k], roots[k]), wanted)


def _grids(centre: float, step: float, limit: float, *, at_limit: bool) -> Iterator[Array]:
    """Values to look at on one side of the minimum, outwards: in steps of the standard error, else evenly to a limit.

    A coordinate that lies at one of its limits has no standard error to go by; neither has one whose steps end beyond
    them.
    """
    reach = abs(limit - centre)
    if at_limit or abs(step) * NEAR_STEPS[1] > reach:
        if np.isfinite(limit) and reach > 0:
            yield np.linspace(centre, limit, LIMIT_POINTS + 1)[1:]
        return
    step = step or float(np.copysign(1e-12 * max(abs(centre), 1.0), limit - centre))
    for steps in (NEAR_STEPS, FAR_STEPS):
        far = centre + step * steps
        yield np.unique(np.minimum(far, limit)) if step > 0 else np.unique(np.maximum(far, limit))[::-1]


def signed_roots(question: Question, values: Array, scale: Scale) -> Array:
    """Signed root of the scaled rise at values (R,), before the sandwich's ratio; inf where no other coordinates fit."""
    if len(values) == 0:
        return np.empty(0)
    tasks, k = question.tasks, question.index
    start = np.tile(question.theta, (len(values), 1))
    start[:, k] = values
    low, high = np.tile(tasks.low, (len(values), 1)), np.tile(tasks.high, (len(values), 1))
    if question.ceiling is not None:
        high = np.minimum(high, question.ceiling(values))
    low[:, k] = high[:, k] = values
    held = Tasks(tasks.observed, tasks.weights, tasks.delta, low, high)
    ends = minimise(question.model, start, held)
    base = minimise(question.model, question.theta[None], tasks).value[0]
    rise = np.maximum(ends.value - base, 0.0)
    sign = np.sign(values - question.theta[k])
    with np.errstate(divide="ignore"):
        return np.asarray(sign * np.sqrt(2 * rise / scale.noise))


def _crossing(
    question: Question, scale: Scale, near: tuple[float, float], far: tuple[float, float], wanted: float
) -> float:
    """Value between two points (value, root) of a profile at which the root reaches `wanted`, to a part in a thousand."""
    for _ in range(2):
        share = (wanted - near[1]) / (far[1] - near[1]) if np.isfinite(far[1]) else 0.5
        tries = near[0] + (far[0] - near[0]) * np.clip(share + np.array([-0.1, -0.02, 0.02, 0.1]), 0.01, 0.99)
        found = [near, *zip(tries, signed_roots(question, tries, scale), strict=True), far]
        k = next(k for k, (_, root) in enumerate(found) if k > 0 and abs(root) >= abs(wanted))
        near, far = found[k - 1], found[k]
    if not np.isfinite(far[1]) or far[1] == near[1]:
        return float(near[0])
    return float(near[0] + (wanted - near[1]) / (far[1] - near[1]) * (far[0] - near[0]))
