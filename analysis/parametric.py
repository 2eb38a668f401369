"""Approach 3: fit a parametric form to all runs, with a certificate, intervals and a compute-optimal model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError, LawError
from analysis.fitting.bootstrap import Bootstrap, bootstrap_fit, group_runs, percentile_interval
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
from analysis.fitting.optimum import Optimum, optimal_params
from analysis.fitting.problem import Problem, state_problem
from analysis.fitting.shapes import ShapeRule, shape_rule
from analysis.fitting.solve import Engine, Search, can_compile, search
from analysis.forms import Form, find_form
from analysis.results import Dropped, FitWarning, Interval
from analysis.table import Runs

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Minimised:
    """What was minimised, and its value at the minimum.

    Attributes:
        kind: `huber`, `lad` or `squares`.
        delta: Huber's delta as used; None for the others.
        space: `log` or `linear` residuals.
        value: Sum over runs (never an average).
    """

    kind: str
    delta: float | None
    space: Space
    value: float


@dataclass(frozen=True, kw_only=True)
class FormFit:
    """A form fitted to runs.

    Attributes:
        form: The form.
        coefficients: By name.
        objective: What was minimised, with its value.
        certificate: Evidence of convergence.
        runs: The runs that were fitted.
        dropped: Runs left out, with reasons.
        warnings: What weakens the fit, most severe first.
        shapes: FLOPs per token along the runs' own shapes.
        problem: The problem in search coordinates.
        theta: Its solution, shape (P,).
        seed: Seed of the search and of intervals.
        engine: Which solver.
    """

    form: Form
    coefficients: Mapping[str, float]
    objective: Minimised
    certificate: Certificate
    runs: Runs
    dropped: tuple[Dropped, ...]
    warnings: tuple[FitWarning, ...]
    shapes: ShapeRule
    problem: Problem = field(repr=False)
    theta: Array = field(repr=False)
    seed: int = 0
    engine: Engine = "auto"

    @property
    def delta(self) -> float:
        """Huber's delta; 0 for least absolute deviation, inf for squares."""
        if self.objective.kind == "lad":
            return 0.0
        return np.inf if self.objective.delta is None else self.objective.delta

    @property
    def exponents(self) -> dict[str, float]:
        """Exponents a of N* ~ C^a and b of D* ~ C^b under 6 N; empty for a form without alpha and beta."""
        if not {"alpha", "beta"} <= set(self.coefficients):
            return {}
        alpha, beta = self.coefficients["alpha"], self.coefficients["beta"]
        return {"a": beta / (alpha + beta), "b": alpha / (alpha + beta)}

    @property
    def residuals(self) -> Array:
        """Observed minus predicted, in the space of the objective, shape (n,)."""
        return np.asarray(self.problem.observed - build_model(self.problem).value(self.theta[None])[0])

    def predict(self, params: Array | float, tokens: Array | float, **columns: Array | float) -> Array:
        """Predicted loss at sizes and tokens; a form with other columns takes them by name."""
        given = {"params": params, "tokens": tokens, **columns}
        return np.asarray(self.form.loss(self.coefficients, {k: np.asarray(x, float) for k, x in given.items()}))

    def bootstrap(
        self,
        replicates: int = 1000,
        *,
        seed: int | None = None,
        cluster: str | None = None,
        stratify: str | None = None,
    ) -> Bootstrap:
        """Refit to resamples of whole points: replicates of a point stay together.

        Args:
            replicates: Resamples.
            seed: Seed; None for the fit's own.
            cluster: Column whose equal values are drawn together, such as `params` or a trunk.
            stratify: Column within whose values points are drawn, such as `budget`.
        """
        return bootstrap_fit(
            self.problem, self.theta, self.delta, self.runs.frame, replicates,
            seed=self.seed if seed is None else seed, cluster=cluster, stratify=stratify, engine=self.engine,
        )  # fmt: skip

    @cached_property
    def resamples(self) -> Bootstrap:
        """The bootstrap that default intervals use."""
        return self.bootstrap(1000 if can_compile(self.problem) else 200)

    def optimum(self, flops: float, *, level: float = 0.9, **extra: float) -> Optimum:
        """The compute-optimal model at a budget, with intervals.

        Args:
            flops: Budget C.
            level: Level of the intervals.
            extra: Values of the form's other columns, such as `unique_tokens`.

        Raises:
            LawError: A form without N and D.
        """
        if not flops > 0:
            raise LawError(f"flops {flops!r}: expected a positive number of FLOPs, such as 1e21.")
        params, tokens, loss = self._optima(self.problem.coefficients(self.theta)[None], flops, extra)
        draws = self._optima(self.resamples.draws, flops, extra)
        intervals = {
            name: percentile_interval(draw, level)
            for name, draw in zip(("params", "tokens", "loss"), draws, strict=True)
        }
        return Optimum(
            flops=flops,
            params=float(params[0]),
            tokens=float(tokens[0]),
            loss=float(loss[0]),
            intervals=intervals,
            shape_rule=self.shapes.description,
            extrapolation=flops / float(self.runs.column("flops").max()),
        )

    def _optima(self, coefficients: Array, flops: float, extra: Mapping[str, float]) -> tuple[Array, Array, Array]:
        params = optimal_params(self.form, coefficients, np.array([flops]), self.shapes, extra)
        tokens = flops / self.shapes.flops_per_token(params)
        named = dict(zip(self.form.names, coefficients.T, strict=True))
        return params, tokens, np.asarray(self.form.loss(named, {"params": params, "tokens": tokens, **extra}))

    def to_json(self, bootstrap: Bootstrap | None = None, *, level: float = 0.9) -> dict[str, Any]:
        """Plain values for one JSON document.

        Args:
            bootstrap: Where `se` and `interval` come from; None for the fit's own resamples.
            level: Level of the intervals.
        """
        boot = bootstrap or self.resamples
        intervals = {name: boot.interval(name, level) for name in self.form.names}
        certificate = self.certificate
        return {
            "method": "parametric",
            "form": self.form.name,
            "objective": {
                "kind": self.objective.kind,
                "delta": self.objective.delta,
                "space": self.objective.space,
                "value": self.objective.value,
            },
            "n": len(self.runs),
            "dropped": [{"run": d.run, "reason": d.reason} for d in self.dropped],
            "coefficients": dict(self.coefficients),
            "se": boot.se,
            "interval": {name: interval_json(interval) for name, interval in intervals.items()},
            "certificate": {
                "converged": certificate.converged,
                "gradient_norm": certificate.gradient_norm,
                "newton_decrement": certificate.newton_decrement,
                "starts_agreeing": certificate.starts_agreeing,
                "condition": certificate.condition,
                "at_bounds": list(certificate.at_bounds),
            },
            "exponents": self.exponents,
            "exponents_filtered": None,
            "warnings": [{"code": w.code, "message": w.message} for w in self.warnings],
        }


def interval_json(interval: Interval) -> dict[str, Any]:
    """Plain values of an interval."""
    return {"low": interval.low, "high": interval.high, "level": interval.level, "method": interval.method}


def fit_form(
    runs: Runs,
    form: str | Form = "additive",
    objective: Objective | None = None,
    space: Space = "log",
    *,
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    weights: Array | None = None,
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
        drop_highest: Leave out this many runs of the highest loss, as Besiroglu et al. 2024 leave out five.
        seed: Seed of the search's random starts and of intervals.
        engine: `compiled`, `numpy`, or whichever is there.

    Raises:
        FitError: Too few runs, runs at one size or one budget, losses that are not positive.
        LawError: An unknown form, or one whose columns the runs don't have.
    """
    chosen = find_form(form) if isinstance(form, str) else form
    kept, dropped, kept_weights = _select(runs, weights, drop_highest)
    columns = _columns(kept, chosen)
    held = dict(fixed or {})
    _check_runs(kept, chosen, columns, len(chosen.names) - len(held), space)
    problem = state_problem(
        chosen, columns, kept.column("loss"), weights=kept_weights, space=space, fixed=held, bounds=bounds
    )
    wanted = Huber() if objective is None else objective
    delta = choose_delta(problem, wanted, kept, seed=seed, engine=engine)
    found = search(problem, delta, seed=seed, engine=engine)
    certificate = certify_point(problem, found.theta, delta, found)
    names = tuple(str(x) for x in kept.frame["run_id"]) if "run_id" in kept.frame else _row_names(kept)
    return FormFit(
        form=chosen,
        coefficients=dict(zip(chosen.names, map(float, problem.coefficients(found.theta)), strict=True)),
        objective=Minimised(
            kind=objective_name(wanted), delta=delta if 0 < delta < np.inf else None, space=space, value=found.value
        ),
        certificate=certificate,
        runs=kept,
        dropped=dropped,
        warnings=check_fit(problem, found.theta, delta, certificate, names, engine=engine),
        shapes=shape_rule(kept),
        problem=problem,
        theta=found.theta,
        seed=seed,
        engine=engine,
    )


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
    """Huber's delta: given, or 1.345 times the noise of the residuals, found by fitting and measuring in turn."""
    if isinstance(objective, LeastAbsolute):
        return 0.0
    if not isinstance(objective, Huber):
        return np.inf
    if objective.delta != "auto":
        return float(objective.delta)
    groups = group_runs(runs.frame, list(problem.form.columns))
    model, delta = build_model(problem), np.inf
    for _ in range(4):
        residuals = problem.observed - model.value(search(problem, delta, seed=seed, engine=engine).theta[None])[0]
        scale = replicate_scale(residuals, groups) or noise_scale(residuals, problem.free_count)
        before, delta = delta, max(AUTO_FACTOR * scale, DELTA_FLOOR)
        if abs(delta - before) < 0.02 * delta:
            break
    return delta


def _select(runs: Runs, weights: Array | None, drop_highest: int) -> tuple[Runs, tuple[Dropped, ...], Array | None]:
    """Leave out the runs of the highest loss."""
    if weights is not None and (np.shape(weights) != (len(runs),) or not (np.asarray(weights) >= 0).all()):
        raise FitError(
            f"weights of shape {np.shape(weights)}: expected {len(runs)} numbers, none negative, one per run."
        )
    if not 0 <= drop_highest < max(len(runs), 1):
        raise FitError(f"drop_highest={drop_highest} of {len(runs)} runs: expected 0 to {len(runs) - 1}.")
    if drop_highest == 0:
        return runs, runs.dropped, weights
    order = np.argsort(-runs.column("loss"), kind="stable")
    out = np.sort(order[:drop_highest])
    names = runs.frame["run_id"].astype(str) if "run_id" in runs.frame else [f"row {i}" for i in range(len(runs))]
    reason = f"among the {drop_highest} highest losses"
    dropped = tuple(Dropped(names[i], reason) for i in out)
    keep = np.setdiff1d(np.arange(len(runs)), out)
    kept = Runs(
        frame=runs.frame.iloc[keep].reset_index(drop=True),
        derived=runs.derived,
        dropped=runs.dropped,
        params_convention=runs.params_convention,
        flops_rule=runs.flops_rule,
        source=runs.source,
    )
    return kept, runs.dropped + dropped, None if weights is None else np.asarray(weights)[keep]


def _row_names(runs: Runs) -> tuple[str, ...]:
    frame = runs.frame
    return tuple(
        f"row {i} ({n:.3g} params, {d:.3g} tokens)"
        for i, (n, d) in enumerate(zip(frame["params"], frame["tokens"], strict=True))
    )


def _columns(runs: Runs, form: Form) -> dict[str, Array]:
    if missing := [name for name in form.columns if name not in runs.frame.columns]:
        have = ", ".join(map(str, runs.frame.columns))
        raise LawError(
            f"{form.name} reads the columns {', '.join(missing)}, which these runs don't have: they have {have}. "
            "Name them with columns={...} (--map), or choose another form."
        )
    return {name: runs.column(name) for name in form.columns}


def _check_runs(runs: Runs, form: Form, columns: Mapping[str, Array], free: int, space: Space) -> None:
    loss = runs.column("loss")
    if space not in ("log", "linear"):
        raise FitError(f"space {space!r}: expected log or linear.")
    if not np.isfinite(loss).all() or (loss <= 0).any():
        raise FitError(
            f"{int((~(loss > 0)).sum())} of {len(loss)} losses are not positive numbers: expected nats per token. "
            "Leave these runs out."
        )
    if len(runs) < free:
        raise FitError(
            f"{len(runs)} runs for the {free} free coefficients of {form.name}: expected at least {free}, better "
            f"{3 * free}. "
            "Add runs, or fix coefficients with fixed={...}."
        )
    for name, values in columns.items():
        if not (np.isfinite(values) & (values > 0)).all():
            raise FitError(f"{name} has values that are not positive: expected counts. Leave these runs out.")
        if name in ("params", "tokens", "flops") and np.ptp(np.log(values)) < 1e-6:
            raise FitError(
                f"all {len(runs)} runs have {name} = {values[0]:.4g}: expected several, or the terms of {form.name} "
                "can't be told apart. "
                f"Add runs at other {name}."
            )
    if {"params", "tokens"} <= set(columns) and np.ptp(np.log(runs.column("flops"))) < 0.01:
        raise FitError(
            f"all {len(runs)} runs have one budget, {runs.column('flops')[0]:.3g} FLOPs: expected at least two, "
            f"or {form.name} can't tell N from D. Add another budget, or use approach 2 for this one."
        )
