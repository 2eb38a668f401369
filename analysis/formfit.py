"""`FormFit`: a form fitted to runs, with its certificate, and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import FitError, LawError
from analysis.fit_values import Covariance, Minimised, Prediction, interval_json
from analysis.fitting import intervals
from analysis.fitting.bootstrap import Bootstrap, bootstrap_fit, group_runs, percentile_interval
from analysis.fitting.certificate import Certificate
from analysis.fitting.checks import check_extrapolation, check_optimum
from analysis.fitting.covariance import Groups
from analysis.fitting.model import build_model
from analysis.fitting.optimum import Optimum, optima
from analysis.fitting.problem import Problem
from analysis.fitting.profile import Profile
from analysis.fitting.shapes import ShapeRule
from analysis.fitting.solve import Engine, can_compile
from analysis.forms import Form
from analysis.results import Dropped, FitWarning, Interval
from analysis.table import Runs

Array = NDArray[np.float64]

RESAMPLES = {True: 1000, False: 200}
"""Bootstrap resamples for default intervals, with and without the compiled kernel (chosen)."""


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
        cluster: Column whose equal values share noise, such as a trunk; None for points.
        seed: Seed of the search and of the bootstrap.
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
    cluster: str | None = None
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

    @property
    def smooth(self) -> bool:
        """Whether enough residuals lie inside delta for curvature, sandwich and profile to mean something."""
        return self.certificate.rule == "newton"

    @cached_property
    def clusters(self) -> Groups | None:
        """Number of each run's unit of shared noise, shape (n,); None where every run is its own."""
        units = group_runs(self.runs.frame, [self.cluster] if self.cluster else list(self.form.columns))
        return None if len(np.unique(units)) == len(units) else units

    @property
    def sharing(self) -> intervals.Sharing:
        """What profiles must know of the runs beside their columns."""
        return intervals.Sharing(clusters=self.clusters, first_look=self.runs.first_look)

    def predict(self, params: Array | float, tokens: Array | float, **columns: Array | float) -> Array:
        """Predicted loss at sizes and tokens; a form with other columns takes them by name."""
        given = {"params": params, "tokens": tokens, **columns}
        return np.asarray(self.form.loss(self.coefficients, {k: np.asarray(x, float) for k, x in given.items()}))

    def prediction(self, level: float = 0.9, **columns: Array | float) -> Prediction:
        """Predicted loss with an interval for one new run.

        Args:
            level: Nominal coverage.
            columns: The form's columns by name, numbers or shape (m,).

        Raises:
            FitError: A fit without a covariance, or a missing column.
        """
        if missing := [name for name in self.form.columns if name not in columns]:
            raise FitError(f"prediction needs {', '.join(missing)}: pass them by name, as {missing[0]}=....")
        arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(columns[name], float)) for name in self.form.columns))
        covariance, noise = intervals.sandwich(self.problem, self.theta, self._smooth_delta(), self.clusters)
        named = dict(zip(self.form.columns, arrays, strict=True))
        loss, low, high = intervals.predict_interval(
            self.problem, self.theta, covariance, named, level, noise, self._freedom
        )
        return Prediction(loss=loss, low=low, high=high, level=level)

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
            cluster: Column whose equal values are drawn together; None for the fit's own.
            stratify: Column within whose values points are drawn, such as `budget`.
        """
        return bootstrap_fit(
            self.problem, self.theta, self.delta, self.runs.frame, replicates,
            seed=self.seed if seed is None else seed,
            cluster=cluster or self.cluster, stratify=stratify, engine=self.engine,
        )  # fmt: skip

    @cached_property
    def resamples(self) -> Bootstrap:
        """The bootstrap that intervals and allocations use where they need draws."""
        return self.bootstrap(RESAMPLES[can_compile(self.problem)])

    def sandwich(self) -> Covariance:
        """Covariance of the coefficients that allows noise to differ between runs, or to be shared in clusters.

        Raises:
            FitError: Least absolute deviation, or too few residuals inside delta.
        """
        covariance, noise = intervals.sandwich(self.problem, self.theta, self._smooth_delta(), self.clusters)
        matrix = intervals.coefficient_covariance(self.problem, self.theta, covariance)
        return Covariance(names=self.form.names, matrix=matrix, noise=noise, freedom=self._freedom)

    def profile(self, name: str, level: float = 0.9) -> Profile:
        """Profile of a coefficient, or of the exponents a or b of the additive law.

        Raises:
            FitError: No such coefficient, a fixed one, or a fit without curvature.
        """
        delta = self._smooth_delta()
        if name in ("a", "b") and self.form.name == "additive":
            found = intervals.profile_exponent(self.problem, self.theta, delta, level, self.sharing)
            if name == "a":
                return found
            interval = intervals.map_interval(found.interval, lambda a: 1 - a, falling=True)
            return Profile(values=1 - found.values[::-1], z=-found.z[::-1], interval=interval)
        if name not in self.form.names:
            raise FitError(
                f"{name!r} is no coefficient of {self.form.name}: expected one of {', '.join(self.form.names)}."
            )
        if self.problem.fixed[self.form.names.index(name)]:
            raise FitError(f"{name} is fixed at {self.coefficients[name]:.4g}: it has no profile. Leave it free.")
        return intervals.profile_coefficient(self.problem, self.theta, delta, name, level, self.sharing)

    def interval(self, name: str, level: float = 0.9) -> Interval:
        """Default interval of a coefficient, or of the exponents a and b: see `fitting.intervals`."""
        if name in self.form.names and self.problem.fixed[self.form.names.index(name)]:
            return Interval(self.coefficients[name], self.coefficients[name], level, "fixed")
        if self.smooth and self.problem.chart is None and (name in self.form.names or self.form.name == "additive"):
            return self.profile(name, level).interval
        return self.resamples.interval(name, level)

    def optimum(self, flops: float, *, level: float = 0.9, **extra: float) -> Optimum:
        """The compute-optimal model at a budget, with intervals.

        Args:
            flops: Budget C.
            level: Level of the intervals.
            extra: Values of the form's other columns, such as `unique_tokens`.

        Raises:
            LawError: A budget that is not positive, or a form without N and D.
        """
        if not flops > 0:
            raise LawError(f"flops {flops!r}: expected a positive number of FLOPs, such as 1e21.")
        params, tokens, loss = optima(self.form, self.problem.coefficients(self.theta)[None], flops, self.shapes, extra)
        held = self.problem.fixed[[self.form.names.index(k) for k in ("A", "B") if k in self.form.names]]
        if self.smooth and self.form.name == "additive" and not held.any():
            found = intervals.profile_optimum(
                self.problem, self.theta, self.delta, flops, self.shapes, level, self.sharing
            )
        elif self.smooth:
            found = self._linear_optimum(flops, level, extra)
        else:
            draws = optima(self.form, self.resamples.draws, flops, self.shapes, extra)
            found = {k: percentile_interval(x, level) for k, x in zip(("params", "tokens", "loss"), draws, strict=True)}
        largest = float(self.runs.column("flops").max())
        return Optimum(
            flops=flops,
            params=float(params[0]),
            tokens=float(tokens[0]),
            loss=float(loss[0]),
            intervals=found,
            shape_rule=self.shapes.description,
            extrapolation=flops / largest,
            warnings=(*check_optimum(self.certificate), *check_extrapolation(flops, largest)),
        )

    def _linear_optimum(self, flops: float, level: float, extra: Mapping[str, float]) -> dict[str, Interval]:
        """Intervals of N*, D* and L* for a form whose optimum is no coordinate of a chart."""

        def logs(coefficients: Array) -> Array:
            params, _, loss = optima(self.form, coefficients, flops, self.shapes, extra)
            with np.errstate(all="ignore"):
                return np.log(np.stack([params, loss]))

        size, loss = intervals.linear_intervals(self.problem, self.theta, self.delta, logs, level, self.sharing)
        return {
            "params": intervals.map_interval(size, np.exp),
            "tokens": intervals.tokens_interval(size, flops, self.shapes),
            "loss": intervals.map_interval(loss, np.exp),
        }

    @property
    def _freedom(self) -> int:
        units = len(self.runs) if self.clusters is None else len(np.unique(self.clusters)) - 1
        return max(min(units, len(self.runs) - self.problem.free_count), 1)

    def _smooth_delta(self) -> float:
        if not self.smooth:
            raise FitError(
                f"{self.certificate.inside} residuals lie inside delta for {self.problem.free_count} coefficients: "
                "expected "
                "twice as many for a covariance or a profile. Use bootstrap(), or objective=Huber()."
            )
        return self.delta

    def to_json(self, bootstrap: Bootstrap | None = None, *, level: float = 0.9) -> dict[str, Any]:
        """Plain values for one JSON document.

        Args:
            bootstrap: Where `se` and `interval` come from; None for the sandwich and the default intervals.
            level: Level of the intervals.
        """
        if bootstrap is None and not self.smooth:
            bootstrap = self.resamples
        if bootstrap is None:
            se = self.sandwich().se
            found = {name: self.interval(name, level) for name in self.form.names}
        else:
            se = bootstrap.se
            found = {name: bootstrap.interval(name, level) for name in self.form.names}
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
            "se": se,
            "interval": {name: interval_json(interval) for name, interval in found.items()},
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
