"""What weakens a fit: each check gives a warning with a stable code, what was computed, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from analysis.fitting.certificate import Certificate
from analysis.fitting.model import build_model
from analysis.fitting.problem import Problem
from analysis.fitting.solve import Engine, solve_rows
from analysis.results import FitWarning

Array = NDArray[np.float64]

EXACT = 1e-7
"""Losses that follow a form this closely were computed from one: seeds alone move a loss by 1e-3."""

UNKNOWN_FLOOR = 0.25
"""Relative standard error of E from which on it counts as unknown (chosen): its interval then reaches half of it."""

DELTA_FACTOR = 10.0
"""delta is moved by this factor each way to see what depends on it (chosen)."""


def check_fit(
    problem: Problem,
    theta: Array,
    delta: float,
    certificate: Certificate,
    runs: tuple[str, ...],
    *,
    engine: Engine = "auto",
) -> tuple[FitWarning, ...]:
    """All warnings about one fit, most severe first."""
    found = [
        *_unconverged(certificate),
        *_floor(problem, theta, certificate),
        *_residuals(problem, theta),
        *_delta(problem, theta, delta, engine),
        *_influence(problem, theta, delta, runs, engine),
    ]
    return tuple(sorted(found, key=lambda warning: -warning.severity))


def _unconverged(certificate: Certificate) -> Iterator[FitWarning]:
    if not certificate.converged:
        message = (
            f"this fit did not converge: {certificate.reason}. Don't use its numbers; fix a coefficient or add runs."
        )
        yield FitWarning("not_converged", message, 10.0)


def _floor(problem: Problem, theta: Array, certificate: Certificate) -> Iterator[FitWarning]:
    """Coefficients at a limit, and floors that the runs hardly show."""
    for name in certificate.at_bounds:
        yield FitWarning(
            "e_not_identified" if name == "E" else "at_bound",
            f"{name} stopped at its limit: the runs don't determine it. Fix {name} or widen the range of sizes.",
            6.0,
        )
    errors = _standard_errors(problem, theta)
    powers = [c.name for c in problem.form.coefficients if c.kind == "exponent" and c.name in certificate.at_bounds]
    for k, coefficient in enumerate(problem.form.coefficients):
        if coefficient.kind != "floor" or k not in errors:
            continue
        value = f"{coefficient.name} = {float(problem.coefficients(theta)[k]):.3g}"
        if powers:
            reason = f"{value} can't be told from the term whose power {powers[0]} stopped at its limit."
        elif errors[k] > UNKNOWN_FLOOR:
            reason = f"{value} is hardly known: its standard error is {100 * errors[k]:.0f} % of it."
        else:
            continue
        advice = "Extrapolations depend on it: add larger runs, or fix it from another fit."
        yield FitWarning("e_not_identified", f"{reason} {advice}", 4.0)


def _standard_errors(problem: Problem, theta: Array) -> dict[int, float]:
    """Standard error of each free coordinate under equal noise; logs, so relative for positive coefficients."""
    predictions = build_model(problem).predictions(theta[None], second_order=False)
    residuals = problem.observed - predictions.value[0]
    free = np.flatnonzero(~problem.fixed & (theta > problem.low) & (theta < problem.high))
    jacobian = predictions.jacobian[0][:, free] * np.sqrt(problem.weights)[:, None]
    freedom = max(len(residuals) - len(free), 1)
    variance = float((problem.weights * residuals**2).sum() / freedom)
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * variance
    variances = np.maximum(np.diag(covariance), 0.0)  # rounding makes those of coefficients unknown negative
    return dict(zip(free.tolist(), np.sqrt(variances).tolist(), strict=True))


def _residuals(problem: Problem, theta: Array) -> Iterator[FitWarning]:
    """A rank correlation of residuals with ln N or ln D, or with distance from the middle: curvature left over."""
    residuals = problem.observed - build_model(problem).value(theta[None])[0]
    if _is_exact(problem, theta):
        yield FitWarning(
            "looks_synthetic",
            f"the largest residual is {np.abs(residuals).max():.1e}: these losses follow the form exactly, as no "
            "training run does.",
            1.0,
        )
        return
    limit = 3.0 / np.sqrt(len(residuals) - 1)
    for column in ("params", "tokens", "flops"):
        if column not in problem.columns:
            continue
        x = _ranks(np.log(problem.columns[column]))
        y = _ranks(residuals)
        straight, bent = _correlation(x, y), _correlation(np.abs(x - x.mean()), y)
        strongest = max(straight, bent, key=abs)
        if abs(strongest) > limit:
            kind = "trend with" if strongest == straight else "bend over"
            yield FitWarning(
                "residual_trend",
                f"residuals {kind} {column} (rank correlation {strongest:+.2f}, expected within {limit:.2f}): the "
                "form misses something. "
                "Compare forms by backtest, or leave out the smallest runs.",
                3.0,
            )


def _is_exact(problem: Problem, theta: Array) -> bool:
    """Whether what is left over is rounding, whose standard errors mean nothing."""
    return bool(np.abs(problem.observed - build_model(problem).value(theta[None])[0]).max() < EXACT)


def _ranks(x: Array) -> Array:
    return np.argsort(np.argsort(x, kind="stable"), kind="stable").astype(np.float64)


def _correlation(x: Array, y: Array) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else 0.0


def _delta(problem: Problem, theta: Array, delta: float, engine: Engine) -> Iterator[FitWarning]:
    if not 0 < delta < np.inf or _is_exact(problem, theta):
        return
    errors = _standard_errors(problem, theta)
    for factor in (DELTA_FACTOR, 1 / DELTA_FACTOR):
        moved = solve_rows(problem, theta[None], problem.weights[None], delta * factor, engine=engine).theta[0]
        worst = max(((abs(moved[k] - theta[k]) / se, k) for k, se in errors.items() if se > 0), default=(0.0, 0))
        if worst[0] > 2:
            name = problem.form.names[worst[1]]
            before, after = (float(problem.coefficients(x)[worst[1]]) for x in (theta, moved))
            yield FitWarning(
                "delta_sensitive",
                f"with delta {delta * factor:.1e} instead of {delta:.1e}, {name} goes from {before:.4g} to "
                f"{after:.4g}, "
                f"{worst[0]:.1f} standard errors: a few runs decide. Look at the largest residuals; use huber:auto.",
                2.5,
            )
            return


def _influence(
    problem: Problem, theta: Array, delta: float, runs: tuple[str, ...], engine: Engine
) -> Iterator[FitWarning]:
    """Leave out each of the five runs with the most leverage or the largest residual."""
    errors = _standard_errors(problem, theta)
    if len(runs) <= problem.free_count + 1 or not errors or _is_exact(problem, theta):
        return
    predictions = build_model(problem).predictions(theta[None], second_order=False)
    jacobian = predictions.jacobian[0][:, list(errors)]
    leverage = np.einsum("nk,nk->n", jacobian @ np.linalg.pinv(jacobian.T @ jacobian), jacobian)
    residual = np.abs(problem.observed - predictions.value[0])
    candidates = np.unique(np.concatenate([np.argsort(-leverage)[:5], np.argsort(-residual)[:5]]))
    weights = np.tile(problem.weights, (len(candidates), 1))
    weights[np.arange(len(candidates)), candidates] = 0.0
    moved = solve_rows(problem, np.tile(theta, (len(candidates), 1)), weights, delta, engine=engine).theta
    scale = np.array([max(se, 1e-300) for se in errors.values()])
    shift = np.abs(moved - theta)[:, list(errors)] / scale
    strong = [runs[i] for i, worst in zip(candidates, shift.max(1), strict=True) if worst > 1]
    if strong:
        yield FitWarning(
            "influential_runs",
            f"leaving out {'' if len(strong) == 1 else 'any one of '}{', '.join(strong[:5])} moves a coefficient by more than "
            f"its standard error (up to {shift.max():.1f}). Check these runs, or repeat them.",
            2.0,
        )


def check_extrapolation(flops: float, largest: float) -> Iterator[FitWarning]:
    """Warn where a budget lies beyond what was fitted."""
    if flops > 10 * largest:
        yield FitWarning(
            "extrapolation",
            f"{flops:.2e} FLOPs is {flops / largest:.3g} times the largest fitted run ({largest:.2e}): the interval "
            "assumes that the form "
            "holds all the way. Add a larger budget, and see the backtest.",
            3.0,
        )


def check_optimum(certificate: Certificate) -> Iterator[FitWarning]:
    """Warn where the fit does not say where its optimum is."""
    yield from _unconverged(certificate)
    if lost := [name for name in certificate.at_bounds if name in ("A", "B", "alpha", "beta")]:
        yield FitWarning(
            "not_identified",
            f"{', '.join(lost)} stopped at a limit, so that nothing balances N against D: this optimum means nothing. "
            "Widen the range of sizes and budgets.",
            8.0,
        )
