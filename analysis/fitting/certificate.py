"""The certificate of a fit: what shows that the search ended in a minimum, and which one.

Two rules. Where enough residuals lie inside delta the objective is smooth, and the Newton decrement says how much
could still be gained. With fewer (less than twice the free coefficients), or under least absolute deviation, the
objective is a polyhedron bent along the law: its minimum is certified by starts that agree and by the subgradient
condition, that some weights in [-1, 1] on the runs of zero residual cancel the pull of all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.model import build_model
from analysis.fitting.newton import curvature
from analysis.fitting.objective import objective_value
from analysis.fitting.problem import Problem
from analysis.fitting.solve import AGREEMENT, ROUNDING, Search, rounding

Array = NDArray[np.float64]

DECREMENT_LIMIT = 1e-9
"""Largest share of the objective that a Newton step may still expect to gain (chosen)."""

GRADIENT_LIMIT = 1e-5
"""Largest scaled gradient (chosen): the cosine between residuals and what a coefficient can change."""

LARGEST_CONDITION = 1e10
"""Condition number from which on a combination of coefficients is not determined (chosen): rounding gives 1e11 there."""

ZERO_RESIDUAL = 1e-7
"""Residuals below this are zero under least absolute deviation (chosen: ten times its search's last delta)."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Evidence that a fit is the minimum of its objective.

    Attributes:
        converged: Whether every test passed; without it no number of the fit should be believed.
        gradient_norm: Gradient of the free coordinates, each in units of its own curvature, over the norm of the
            residuals. Under the subgradient rule: what is left of it after the best weights on zero residuals.
        newton_decrement: Share of the objective that one Newton step would still gain; None under the subgradient rule.
        starts_agreeing: Searches that ended at the same objective, out of `starts`.
        condition: Condition number of the curvature matrix with unit diagonal, in centred log coordinates.
        at_bounds: Coefficients that stopped at a limit.
        starts: Searches run.
        inside: Residuals inside delta.
        rule: `newton` or `subgradient`.
        reason: The first test that failed, empty when converged.
    """

    converged: bool
    gradient_norm: float
    newton_decrement: float | None
    starts_agreeing: int
    condition: float | None
    at_bounds: tuple[str, ...]
    starts: int
    inside: int
    rule: Literal["newton", "subgradient"]
    reason: str = ""


def certify_point(problem: Problem, theta: Array, delta: float, found: Search) -> Certificate:
    """Examine one point, given what a global search of the same problem found.

    Args:
        problem: The problem.
        theta: The point's coordinates, shape (P,).
        delta: Huber's delta; 0 for least absolute deviation, inf for squares.
        found: A global search of the same problem, whose best may lie lower.
    """
    residuals = problem.observed - build_model(problem).value(theta[None])[0]
    value = float(objective_value(residuals, problem.weights, delta))
    inside = int((np.abs(residuals) <= (delta or ZERO_RESIDUAL)).sum())
    smooth = delta > 0 and (inside >= 2 * problem.free_count or inside == len(residuals))
    measure = _newton_measure if smooth else _subgradient_measure
    gradient, decrement, condition = measure(problem, theta, delta, value)
    reason = _first_failure(problem, delta, gradient, decrement, condition, value, found, smooth=smooth)
    return Certificate(
        converged=not reason,
        gradient_norm=gradient,
        newton_decrement=decrement,
        starts_agreeing=found.agreeing if _reaches(value, found, problem, delta) else 0,
        condition=condition,
        at_bounds=problem.at_limits(theta),
        starts=found.starts,
        inside=inside,
        rule="newton" if smooth else "subgradient",
        reason=reason,
    )


def _reaches(value: float, found: Search, problem: Problem, delta: float) -> bool:
    return value <= found.value * (1 + AGREEMENT) + rounding(problem, delta)


def _first_failure(
    problem: Problem,
    delta: float,
    gradient: float,
    decrement: float | None,
    condition: float | None,
    value: float,
    found: Search,
    *,
    smooth: bool,
) -> str:
    if not _reaches(value, found, problem, delta):
        return f"a search from other starts reaches {found.value:.6g}, below {value:.6g}"
    if condition is None or condition > LARGEST_CONDITION:
        return "the runs don't determine every coefficient: the objective is flat along some combination of them"
    if decrement is not None and decrement > DECREMENT_LIMIT:
        return f"a Newton step would still gain {decrement:.1e} of the objective"
    if gradient > (GRADIENT_LIMIT if smooth else 100 * GRADIENT_LIMIT):
        return f"the gradient is {gradient:.1e}, not zero"
    if found.agreeing < 2 and found.starts > 1:
        return f"only one of {found.starts} starts ends here"
    return ""


def _free(problem: Problem, theta: Array, gradient: Array) -> NDArray[np.bool_]:
    held = ((theta <= problem.low) & (gradient >= 0)) | ((theta >= problem.high) & (gradient <= 0))
    return np.asarray(~held & ~problem.fixed)


def _newton_measure(
    problem: Problem, theta: Array, delta: float, value: float
) -> tuple[float, float | None, float | None]:
    """Scaled gradient, relative Newton decrement, condition number (None for an indefinite Hessian)."""
    now = curvature(build_model(problem), theta[None], problem.tasks(delta), exact=True)
    free = _free(problem, theta, now.gradient[0])
    scale = 1 / np.sqrt(np.maximum(now.damping[0][free], np.finfo(np.float64).tiny))
    gradient = now.gradient[0][free] * scale
    hessian = now.hessian[0][np.ix_(free, free)] * scale[:, None] * scale
    floor = ROUNDING**2 * len(problem.loss)
    norm = float(np.linalg.norm(gradient) / np.sqrt(2 * value + floor))
    if not np.isfinite(hessian).all():
        return norm, None, None
    eigenvalues = np.linalg.eigvalsh(hessian)
    if not eigenvalues[0] > 0 or eigenvalues[-1] > LARGEST_CONDITION * eigenvalues[0]:
        return norm, None, None
    decrement = 0.5 * float(gradient @ np.linalg.solve(hessian, gradient))
    return norm, decrement / (value + floor), float(eigenvalues[-1] / eigenvalues[0])


def _subgradient_measure(
    problem: Problem, theta: Array, delta: float, _: float
) -> tuple[float, float | None, float | None]:
    """Scaled gradient that no weights in [-1, 1] on the zero residuals can cancel, and the Jacobian's condition."""
    from scipy.optimize import lsq_linear

    predictions = build_model(problem).predictions(theta[None], second_order=False)
    residuals, jacobian = problem.observed - predictions.value[0], predictions.jacobian[0]
    weighted = jacobian * problem.weights[:, None]
    scale = 1 / np.sqrt(np.maximum((weighted * jacobian).sum(0), np.finfo(np.float64).tiny))
    width = max(delta, ZERO_RESIDUAL)
    zero = np.abs(residuals) <= width
    pull = -(weighted[~zero] * np.sign(residuals[~zero])[:, None]).sum(0)
    free = _free(problem, theta, pull) | ~(problem.fixed | (theta <= problem.low) | (theta >= problem.high))
    matrix, target = (weighted * scale)[:, free], (pull * scale)[free]
    if zero.any():
        fit = lsq_linear(-matrix[zero].T, -target, bounds=(-1, 1))
        target = target - matrix[zero].T @ fit.x
    singular = np.linalg.svd(matrix, compute_uv=False)
    condition = float((singular[0] / singular[-1]) ** 2) if singular[-1] > 0 else None
    return float(np.linalg.norm(target) / np.sqrt(problem.weights.sum())), None, condition
