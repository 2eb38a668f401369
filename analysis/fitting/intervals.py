"""Intervals for what a fit says: coefficients, the exponents of N* and D*, the optimum, and predictions.

The default is the profile with the sandwich's scale. The optimum of another form than the additive law has no chart of its
own and is made linear at the fit, with the sandwich's covariance. `benchmarks/coverage.py` shows the coverage of both.
Where neither exists (least absolute deviation, hardly a residual inside delta) it is the percentile interval of the
bootstrap, which covers less than it says for few points. An interval's `method` says which it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.charts import ChartedModel, ExponentChart, OptimumChart
from analysis.fitting.covariance import Groups, collect_scores, sandwich_covariance
from analysis.fitting.model import build_model
from analysis.fitting.objective import noise_scale
from analysis.fitting.optimum import optimal_params
from analysis.fitting.problem import SCALE_RANGE, Problem
from analysis.fitting.profile import Profile, Question, profile
from analysis.fitting.shapes import ShapeRule
from analysis.fitting.tasks import Tasks
from analysis.forms.form import Chart
from analysis.results import Interval

Array = NDArray[np.float64]


LINEAR_STEP = 0.05
"""Step of numerical derivatives in standard errors (chosen: far above rounding, far below the interval)."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How the runs hang together beyond their columns.

    Attributes:
        clusters: Number of each run's unit of shared noise, shape (n,); None where every run is its own.
        first_look: Runs after which the sweep may first have stopped by its own interval; None for never.
    """

    clusters: Groups | None = None
    first_look: int | None = None


def map_interval(interval: Interval, function: Callable[[float], float], *, falling: bool = False) -> Interval:
    """The interval of a monotone function of a quantity; open ends stay open."""
    low, high = (None if end is None else float(function(end)) for end in (interval.low, interval.high))
    return dataclasses.replace(interval, low=high if falling else low, high=low if falling else high)


def tokens_interval(log_params: Interval, flops: float, shapes: ShapeRule) -> Interval:
    """The interval of D = C / phi(N) from that of ln N."""
    return map_interval(log_params, lambda x: flops / float(shapes.flops_per_token(np.exp(x))), falling=True)


def profile_coefficient(
    problem: Problem, theta: Array, delta: float, name: str, level: float, sharing: Sharing
) -> Profile:
    """Profile of one coefficient, in its own unit."""
    k = problem.form.names.index(name)
    plain = problem
    if problem.chart is None:  # let this coefficient itself be a coordinate
        shift = problem.shift.copy()
        shift[k] = np.eye(len(shift))[k]
        free = not problem.fixed[k] and problem.form.coefficients[k].exponent is not None
        low, high = problem.low.copy(), problem.high.copy()
        if free:
            low[k], high[k] = -SCALE_RANGE, SCALE_RANGE
        plain = dataclasses.replace(problem, shift=shift, low=low, high=high)
        theta = theta.copy()
        theta[k] = (problem.shift @ theta)[k]
    question = Question(
        model=build_model(plain),
        theta=theta,
        tasks=plain.tasks(delta),
        index=k,
        low=float(plain.low[k]),
        high=float(plain.high[k]),
        clusters=sharing.clusters,
        first_look=sharing.first_look,
    )
    found = profile(question, level)
    if not problem.form.coefficients[k].positive:
        return found
    interval = map_interval(found.interval, np.exp)
    return dataclasses.replace(found, values=np.exp(found.values), interval=interval)


def profile_exponent(problem: Problem, theta: Array, delta: float, level: float, sharing: Sharing) -> Profile:
    """Profile of a = beta / (alpha + beta) of the additive law."""
    names = problem.form.names
    chart = ExponentChart(
        float(problem.shift[names.index("A"), names.index("alpha")]),
        float(problem.shift[names.index("B"), names.index("beta")]),
    )
    coefficients = problem.coefficients(theta)
    low = np.array([-60.0, -60.0, problem.low[2], 0.01, 0.02])
    high = np.array([60.0, 60.0, problem.high[2], 0.99, 8.0])
    phi = np.array(chart.coordinates(list(coefficients)))
    return profile(_charted(problem, chart, phi, 3, delta, low, high, sharing), level)


def profile_optimum(
    problem: Problem, theta: Array, delta: float, flops: float, shapes: ShapeRule, level: float, sharing: Sharing
) -> dict[str, Interval]:
    """Profile intervals of N*, D* and L* of the additive law at a budget."""
    coefficients = problem.coefficients(theta)[None]
    params = optimal_params(problem.form, coefficients, np.array([flops]), shapes)
    low = np.array([-np.inf, -40.0, *problem.low[2:]])
    high = np.array([np.inf, 40.0, *problem.high[2:]])
    chart = OptimumChart(flops, shapes)
    phi = chart.at_optimum(coefficients, params)[0]
    size = profile(_charted(problem, chart, phi, 0, delta, low, high, sharing), level).interval
    held = OptimumChart(flops, shapes, hold_loss=True)
    phi = held.at_optimum(coefficients, params)[0]
    question = _charted(problem, held, phi, 1, delta, low, high, sharing)

    def below_loss(log_loss: Array) -> Array:  # E stays below L*
        ceiling = np.tile(high, (len(log_loss), 1))
        ceiling[:, 2] = np.minimum(high[2], log_loss - 1e-9)
        return ceiling

    loss = profile(dataclasses.replace(question, ceiling=below_loss), level).interval
    return {
        "params": map_interval(size, np.exp),
        "tokens": tokens_interval(size, flops, shapes),
        "loss": map_interval(loss, np.exp),
    }


def linear_intervals(
    problem: Problem, theta: Array, delta: float, quantities: Callable[[Array], Array], level: float, sharing: Sharing
) -> list[Interval]:
    """Intervals of functions of the coefficients, by their derivatives at the fit and the sandwich.

    Args:
        problem: The problem.
        theta: Its solution, shape (P,).
        delta: Huber's delta.
        quantities: Maps coefficients (R, P) to Q functions of them (Q, R), smooth ones such as ln N*.
        level: Nominal level.
        sharing: How runs hang together.

    Returns:
        One interval per quantity, in its own scale; open on both sides where a derivative is not finite.
    """
    from scipy.special import stdtrit

    covariance, _ = sandwich(problem, theta, delta, sharing.clusters)
    step = LINEAR_STEP * np.sqrt(np.maximum(np.diag(covariance), np.finfo(np.float64).tiny))
    moved = theta + np.concatenate([np.diag(step), -np.diag(step)])
    values = quantities(problem.coefficients(np.concatenate([theta[None], moved])))
    with np.errstate(invalid="ignore"):
        slopes = (values[:, 1 : 1 + len(theta)] - values[:, 1 + len(theta) :]) / (2 * step)
    slopes[:, problem.fixed] = 0.0
    units = len(problem.loss) if sharing.clusters is None else len(np.unique(sharing.clusters))
    freedom = max(min(len(problem.loss) - problem.free_count, units - (units < len(problem.loss))), 1)
    widths = stdtrit(freedom, 0.5 + level / 2) * np.sqrt(np.einsum("qk,kl,ql->q", slopes, covariance, slopes))
    method = "linearised t with sandwich"
    return [
        Interval(float(value - width), float(value + width), level, method)
        if np.isfinite(width)
        else Interval(None, None, level, method)
        for value, width in zip(values[:, 0], widths, strict=True)
    ]


def _charted(
    problem: Problem,
    chart: Chart,
    phi: Array,
    index: int,
    delta: float,
    low: Array,
    high: Array,
    sharing: Sharing,
) -> Question:
    model = ChartedModel(build_model(problem), chart, problem.shift, problem.positive)
    tasks = Tasks(problem.observed[None], problem.weights[None], np.array([[delta]]), low[None], high[None])
    return Question(
        model=model,
        theta=phi,
        tasks=tasks,
        index=index,
        low=float(low[index]),
        high=float(high[index]),
        clusters=sharing.clusters,
        first_look=sharing.first_look,
    )


def sandwich(problem: Problem, theta: Array, delta: float, clusters: Groups | None) -> tuple[Array, float]:
    """Sandwich covariance of the coordinates, (P, P) with zeros for fixed ones, and the noise's standard deviation."""
    predictions = build_model(problem).predictions(theta[None], second_order=False)
    free = np.flatnonzero(~problem.fixed)
    residuals = problem.observed[None] - predictions.value
    scores = collect_scores(predictions.jacobian[:, :, free], residuals, problem.weights[None], delta)
    covariance = np.zeros((len(theta), len(theta)))
    covariance[np.ix_(free, free)] = sandwich_covariance(scores, clusters)[0]
    return covariance, noise_scale(residuals[0], len(free))


def coefficient_covariance(problem: Problem, theta: Array, covariance: Array) -> Array:
    """Covariance of the coefficients from that of the coordinates, by the derivatives between them, shape (P, P)."""
    step = 1e-6
    moved = theta + step * np.concatenate([np.eye(len(theta)), -np.eye(len(theta))])
    values = problem.coefficients(moved)
    jacobian = (values[: len(theta)] - values[len(theta) :]).T / (2 * step)
    return np.asarray(jacobian @ covariance @ jacobian.T)


def predict_interval(
    problem: Problem,
    theta: Array,
    covariance: Array,
    columns: Mapping[str, Array],
    level: float,
    noise: float,
    freedom: int,
) -> tuple[Array, Array, Array]:
    """Predicted loss with an interval for a new run, shape (m,) each; noise 0 gives the interval of the law itself.

    By the derivatives of the prediction, in the space of the residuals.
    """
    from scipy.special import stdtrit  # quantile of t; scipy.stats takes half a second to import

    new = dataclasses.replace(problem, columns=columns, loss=np.ones(len(next(iter(columns.values())))))
    predictions = build_model(new).predictions(theta[None], second_order=False)
    jacobian, value = predictions.jacobian[0], predictions.value[0]
    variance = np.einsum("nk,kl,nl->n", jacobian, covariance, jacobian) + noise**2
    width = stdtrit(max(freedom, 1), 0.5 + level / 2) * np.sqrt(np.maximum(variance, 0.0))
    back = np.exp if problem.space == "log" else np.asarray
    return back(value), back(value - width), back(value + width)
