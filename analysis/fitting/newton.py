"""Damped Newton with the exact Hessian, many rows at once, in NumPy.

The first steps use the reweighted Gauss-Newton matrix, which lies above the Hessian and is never indefinite; then the
exact Hessian takes over, so that the end is quadratic even where residuals are large. Stops on the Newton decrement,
the decrease that the quadratic model still expects, and not on a small step or a small change. Limits are kept by
projection: a coordinate at a limit whose gradient points outwards is held for that step.

Shapes: R rows (starts, bootstrap weights, points of a profile), n runs, P coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.model import Model, Predictions
from analysis.fitting.objective import objective_value
from analysis.fitting.tasks import Tasks

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

REWEIGHTED_STEPS = 3
MAX_STEPS = 300
STOP_SHARE = 1e-12
"""Stop when the expected decrease is below this share of the objective (chosen: far below the certificate's)."""

LEAST_DECREASE = 1e-30
"""Expected decrease per run that is nothing but rounding."""


@dataclass(frozen=True)
class Solutions:
    """Where R searches ended: coordinates (R, P), objectives (R,), and whether each stopped by its decrement (R,)."""

    theta: Array
    value: Array
    converged: Flags


@dataclass(frozen=True)
class Curvature:
    """Derivatives of the objective at R coordinate vectors.

    Attributes:
        gradient: Shape (R, P).
        hessian: Exact, or the reweighted Gauss-Newton matrix, shape (R, P, P).
        damping: Diagonal of the reweighted Gauss-Newton matrix, shape (R, P).
    """

    gradient: Array
    hessian: Array
    damping: Array

    @property
    def finite(self) -> Flags:
        """Which rows have finite derivatives, shape (R,)."""
        return np.asarray(np.isfinite(self.gradient).all(1) & np.isfinite(self.hessian).all((1, 2)))

    def take(self, keep: Flags) -> Curvature:
        """Some of the rows."""
        return Curvature(self.gradient[keep], self.hessian[keep], self.damping[keep])


def curvature(model: Model, theta: Array, tasks: Tasks, *, exact: bool) -> Curvature:
    """Gradient and Hessian of the objective, or the matrix above it where not `exact`."""
    predictions = model.predictions(theta, second_order=exact)
    with np.errstate(all="ignore"):
        return _derivatives(predictions, tasks, exact=exact)


def _derivatives(predictions: Predictions, tasks: Tasks, *, exact: bool) -> Curvature:
    residuals = tasks.observed - predictions.value
    size = np.abs(residuals)
    inside = size <= tasks.delta
    pull = tasks.weights * np.where(inside, 1.0, tasks.delta / size)
    clipped = pull * residuals
    jacobian = predictions.jacobian
    gradient = -np.einsum("rn,rnk->rk", clipped, jacobian)
    weighted = jacobian * pull[..., None]
    damping = np.einsum("rnk,rnk->rk", weighted, jacobian)
    if not exact:
        return Curvature(gradient, weighted.transpose(0, 2, 1) @ jacobian, damping)
    smooth = jacobian * (tasks.weights * inside)[..., None]
    return Curvature(gradient, smooth.transpose(0, 2, 1) @ jacobian - predictions.curvature(clipped), damping)


def minimise(model: Model, theta: Array, tasks: Tasks) -> Solutions:
    """Minimise the Huber objective from every row of theta, shape (R, P)."""
    rows, noise = len(theta), LEAST_DECREASE * tasks.observed.shape[1]
    theta = np.clip(theta, tasks.low, tasks.high)
    value = _value(model, theta, tasks)
    damping, converged = np.full(rows, 1e-3), np.zeros(rows, dtype=bool)
    active = np.flatnonzero(np.isfinite(value))
    for iteration in range(MAX_STEPS):
        if len(active) == 0:
            break
        task, exact = tasks.take(active), iteration >= REWEIGHTED_STEPS
        now = curvature(model, theta[active], task, exact=exact)
        if not now.finite.all():  # overflow far away from the data ends a row's search
            active, now = active[now.finite], now.take(now.finite)
            task = tasks.take(active)
        step, decrease = damped_step(now, theta[active], damping[active], task)
        trial = np.clip(theta[active] + step, task.low, task.high)
        before, reached = value[active], _value(model, trial, task)
        better = reached <= before
        small = decrease <= STOP_SHARE * before + noise
        stuck = decrease <= 1e-9 * before + 1e4 * noise  # no better point, at the edge of rounding
        done = exact & small & (better | stuck) & (damping[active] < 1)
        theta[active[better]], value[active[better]] = trial[better], reached[better]
        converged[active[done]] = True
        factor, least = np.where(better, 0.15, 8.0), np.where(better, 1e-12, 1e-8)
        damping[active] = np.maximum(damping[active] * factor, least)
        active = active[~done & (damping[active] < 1e12)]
    return Solutions(theta, value, converged)


def damped_step(now: Curvature, theta: Array, damping: Array, tasks: Tasks) -> tuple[Array, Array]:
    """Newton steps (R, P) over the free coordinates and the decrease (R,) that the gradient expects of them."""
    held = ((theta <= tasks.low) & (now.gradient >= 0)) | ((theta >= tasks.high) & (now.gradient <= 0))
    gradient = np.where(held, 0.0, now.gradient)
    diagonal = np.where(held | (now.damping == 0), 1.0, now.damping)
    matrix = np.where(held[:, :, None] | held[:, None, :], 0.0, now.hessian)
    index = np.arange(theta.shape[1])
    matrix[:, index, index] += np.where(held, 1.0, 0.0) + damping[:, None] * diagonal
    try:
        step = np.linalg.solve(matrix, -gradient[..., None])[..., 0]
    except np.linalg.LinAlgError:
        step = -gradient / diagonal
    decrease = -(step * gradient).sum(-1)
    uphill = ~(decrease >= 0)  # indefinite, or not finite
    step[uphill] = (-gradient / (diagonal * (1 + damping[:, None])))[uphill]
    return step, np.where(uphill, np.inf, decrease)


def _value(model: Model, theta: Array, tasks: Tasks) -> Array:
    with np.errstate(all="ignore"):
        value = objective_value(tasks.observed - model.value(theta), tasks.weights, tasks.delta)
    return np.where(np.isfinite(value), value, np.inf)
