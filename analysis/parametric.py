"""Approach 3: fit a parametric form to all runs, with a certificate that the fit is the minimum of its objective."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError
from analysis.fit_values import Minimised
from analysis.fitting.bootstrap import group_runs
from analysis.fitting.certificate import Certificate, certify_point
from analysis.fitting.checks import check_fit
from analysis.fitting.model import build_model
from analysis.fitting.objective import (
    AUTO_FACTOR,
    DELTA_FLOOR,
    Huber,
    LeastAbsolute,
    Objective,
    Space,
    noise_scale,
    objective_name,
    replicate_scale,
)
from analysis.fitting.problem import Problem, state_problem
from analysis.fitting.selection import check_runs, check_weights, drop_highest_losses, form_columns, run_names
from analysis.fitting.shapes import shape_rule
from analysis.fitting.solve import Engine, Search, search
from analysis.formfit import FormFit
from analysis.forms import Form, find_form
from analysis.run_checks import stopping_warnings
from analysis.table import Runs
from analysis.tuning import one_point_each

__all__ = ["FormFit", "certify", "choose_delta", "fit_form"]

Array = NDArray[np.float64]

DELTA_ROUNDS = 4
"""Fits between which the automatic delta is measured again, until it moves by less than 2 % (chosen)."""


def fit_form(
    runs: Runs,
    form: str | Form = "additive",
    objective: Objective | None = None,
    space: Space = "log",
    *,
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    weights: Array | None = None,
    cluster: str | None = None,
    drop_highest: int = 0,
    seed: int = 0,
    engine: Engine = "auto",
) -> FormFit:
    """Fit a form to runs.

    Args:
        runs: Finished runs.
        form: A form or its name.
        objective: What to minimise; None for Huber with delta from the noise.
        space: Residuals of ln(loss) or of the loss.
        fixed: Coefficients held at a value, such as {"E": 1.69}.
        bounds: Limits of coefficients.
        weights: Weight of each run, shape (n,).
        cluster: Column whose equal values share noise; intervals then allow for it. None for `trunk` where runs
            share some, else for points.
        drop_highest: Leave out this many runs of the highest loss, as Besiroglu et al. 2024 leave out five.
        seed: Seed of the search's random starts and of the bootstrap.
        engine: `compiled`, `numpy`, or whichever is there.

    Raises:
        FitError: Too few runs, runs at one size or one budget, losses that are not positive.
        LawError: An unknown form, or one whose columns the runs don't have.
    """
    chosen = find_form(form) if isinstance(form, str) else form
    cluster = cluster or shared_trunk(runs)
    if cluster is not None and cluster not in runs.frame.columns:
        raise FitError(f"cluster column {cluster!r} does not exist: expected one of {', '.join(map(str, runs.frame))}.")
    runs = one_point_each(runs)
    given = check_weights(weights, len(runs))
    kept, positions = drop_highest_losses(runs, drop_highest)
    columns = form_columns(kept, chosen)
    held = dict(fixed or {})
    check_runs(kept, chosen, columns, len(set(chosen.names) - set(held)), space)
    problem = state_problem(
        chosen, columns, kept.column("loss"), weights=given[positions], space=space, fixed=held, bounds=bounds
    )
    wanted = Huber() if objective is None else objective
    delta = choose_delta(problem, wanted, kept, seed=seed, engine=engine)
    found = search(problem, delta, seed=seed, engine=engine)
    certificate = certify_point(problem, found.theta, delta, found)
    return FormFit(
        form=chosen,
        coefficients=dict(zip(chosen.names, map(float, problem.coefficients(found.theta)), strict=True)),
        objective=Minimised(
            kind=objective_name(wanted), delta=delta if 0 < delta < np.inf else None, space=space, value=found.value
        ),
        certificate=certificate,
        runs=kept,
        dropped=kept.dropped,
        warnings=(
            *check_fit(problem, found.theta, delta, certificate, run_names(kept), engine=engine),
            *stopping_warnings(kept),
        ),
        shapes=shape_rule(kept),
        problem=problem,
        theta=found.theta,
        cluster=cluster,
        seed=seed,
        engine=engine,
    )


def shared_trunk(runs: Runs) -> str | None:
    """The column that says which runs branch off one trunk, None where every run is alone."""
    trunk = runs.frame.get("trunk")
    return "trunk" if trunk is not None and bool(trunk.notna().all()) and trunk.duplicated().any() else None


def certify(
    runs: Runs,
    coefficients: Mapping[str, float],
    form: str | Form = "additive",
    objective: Objective | None = None,
    space: Space = "log",
    *,
    drop_highest: int = 0,
    seed: int = 0,
) -> Certificate:
    """Examine coefficients that somebody else fitted, under the objective that they say they minimised.

    Raises:
        FitError: A coefficient is missing, or the runs can't be fitted.
    """
    fit = fit_form(runs, form, objective, space, drop_highest=drop_highest, seed=seed)
    if missing := [name for name in fit.form.names if name not in coefficients]:
        raise FitError(
            f"coefficients {', '.join(missing)} are missing: {fit.form.name} has {', '.join(fit.form.names)}."
        )
    theta = fit.problem.coordinates(np.array([coefficients[name] for name in fit.form.names]))
    found = Search(
        theta=fit.theta,
        value=fit.objective.value,
        converged=fit.certificate.converged,
        starts=fit.certificate.starts,
        agreeing=fit.certificate.starts_agreeing,
    )
    return certify_point(fit.problem, theta, fit.delta, found)


def choose_delta(problem: Problem, objective: Objective, runs: Runs, *, seed: int, engine: Engine) -> float:
    """Huber's delta: 0 for least absolute deviation, inf for squares, given, or from the noise of the residuals.

    The automatic delta is 1.345 times the noise, found by fitting and measuring in turn. The noise is that between
    runs of one point where enough are repeated, else the median absolute residual's.
    """
    if isinstance(objective, LeastAbsolute):
        return 0.0
    if not isinstance(objective, Huber):
        return np.inf
    if objective.delta != "auto":
        return float(objective.delta)
    groups = group_runs(runs.frame, list(problem.form.columns))
    model, delta = build_model(problem), np.inf
    for _ in range(DELTA_ROUNDS):
        residuals = problem.observed - model.value(search(problem, delta, seed=seed, engine=engine).theta[None])[0]
        scale = replicate_scale(residuals, groups) or noise_scale(residuals, problem.free_count)
        before, delta = delta, max(AUTO_FACTOR * scale, DELTA_FLOOR)
        if abs(delta - before) < 0.02 * delta:
            break
    return delta
