"""The sentence that a sweep is run for: N*(C) = k C^a, from the approach that can say it best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from analysis import notation
from analysis.envelope import EnvelopeFit
from analysis.fitting.bootstrap import percentile_interval
from analysis.fitting.optimum import Optimum, optimal_params
from analysis.formfit import FormFit
from analysis.isoflop import IsoflopFit
from analysis.report.outcome import Failed, attempt
from analysis.results import Interval
from analysis.table import Array, Runs

FACTORS = (10.0, 100.0)
"""Predictions are made at these multiples of the largest fitted compute."""

SLOPE_SPAN = 10.0**0.5
"""Factor either side of the largest fitted compute over which the local exponent of a parametric fit is taken
(chosen)."""

LEAST_RUNS = 15
"""Runs from which approach 3 alone may give the headline (chosen: three per coefficient of the additive law)."""

AnyFit = IsoflopFit | EnvelopeFit | FormFit


@dataclass(frozen=True, kw_only=True)
class Headline:
    """N*(C) = k C^a.

    Attributes:
        approach: `isoflop`, `parametric` or `envelope`.
        basis: What it rests on, in words.
        exponent: a.
        exponent_interval: Its interval.
        prefactor: k, parameters per FLOP^a.
        fitted_to: Largest C fitted.
        predictions: Compute-optimal models at 10x and 100x of it.
    """

    approach: str
    basis: str
    exponent: float
    exponent_interval: Interval
    prefactor: float
    fitted_to: float
    predictions: tuple[Optimum, ...]

    @property
    def law(self) -> str:
        """N*(C) = 0.0318 · C^0.496."""
        return f"N*(C) = {notation.number(self.prefactor)} · C^{notation.number(self.exponent)}"

    @property
    def exponent_text(self) -> str:
        """The exponent's interval in words, or why there is none."""
        span = self.exponent_interval
        if span.low is None or span.high is None:
            return "the exponent has no interval: the runs leave no degree of freedom"
        return f"exponent {notation.interval(span, notation.number)} ({notation.percent(span.level)}, {span.method})"


Optima = Mapping[str, tuple[Optimum, ...]]
"""Compute-optimal models of each approach (`isoflop`, `parametric`, `envelope`) by rising compute."""


def compute_optima(fits: Mapping[str, AnyFit | Failed], runs: Runs) -> Optima:
    """Optima of every approach that has a result, over the fitted compute and at 10x and 100x of it.

    They are asked for once, here: a profile interval of a parametric fit takes a quarter of a second.
    """
    smallest, largest = compute_range(runs)
    points = (smallest, float(np.sqrt(smallest * largest)), largest, *(factor * largest for factor in FACTORS))
    made = {}
    for name, fit in fits.items():
        if isinstance(fit, Failed):
            continue
        optima = attempt(partial(_optima, fit, points))
        if not isinstance(optima, Failed):
            made[name] = optima
    return made


def _optima(fit: AnyFit, points: Iterable[float]) -> tuple[Optimum, ...]:
    return tuple(fit.optimum(flops) for flops in points)


def compute_range(runs: Runs) -> tuple[float, float]:
    """Smallest and largest C: of the budgets where there are any, else of the runs."""
    flops = runs.column("budget" if "budget" in runs.frame else "flops")
    return float(flops.min()), float(flops.max())


def choose_headline(fits: Mapping[str, AnyFit | Failed], optima: Optima, runs: Runs) -> Headline | Failed:
    """Approach 2 where two curves have their minimum inside, else a converged approach 3, else approach 1."""
    isoflop, parametric, envelope = (fits[name] for name in ("isoflop", "parametric", "envelope"))
    largest = compute_range(runs)[1]
    predicted = {name: tuple(best for best in row if best.flops > 1.001 * largest) for name, row in optima.items()}
    if isinstance(isoflop, IsoflopFit) and isoflop.params_trend is not None:
        return _of_isoflop(isoflop, largest, predicted.get("isoflop", ()))
    if isinstance(parametric, FormFit) and parametric.certificate.converged and len(runs) >= LEAST_RUNS:
        made = attempt(lambda: _of_form(parametric, largest, predicted.get("parametric", ())))
        if isinstance(made, Headline):
            return made
    if isinstance(envelope, EnvelopeFit):
        return _of_envelope(envelope, largest, predicted.get("envelope", ()))
    if isinstance(isoflop, Failed):
        return isoflop
    return Failed(
        reason="fewer than two curves have their minimum inside, and no other approach has a result. Add sizes and "
        "budgets."
    )


def _of_isoflop(fit: IsoflopFit, largest: float, predicted: tuple[Optimum, ...]) -> Headline:
    trend = fit.params_trend
    assert trend is not None
    inside = [m for m in fit.minima if m.usable]
    bracketed = sum(m.status == "bracketed" for m in inside)
    basis = f"approach 2: {len(inside)} of {len(fit.minima)} minima inside, {bracketed} bracketed on both sides"
    return Headline(
        approach="isoflop",
        basis=basis,
        exponent=trend.exponent,
        exponent_interval=trend.exponent_interval(fit.level),
        prefactor=trend.prefactor,
        fitted_to=largest,
        predictions=predicted,
    )


def _of_envelope(fit: EnvelopeFit, largest: float, predicted: tuple[Optimum, ...]) -> Headline:
    trend = fit.params_trend
    return Headline(
        approach="envelope",
        basis=f"approach 1: the lowest points of {len(fit.flops)} budgets, no minimum lies inside",
        exponent=trend.exponent,
        exponent_interval=trend.exponent_interval(fit.level),
        prefactor=trend.prefactor,
        fitted_to=largest,
        predictions=predicted,
    )


def _of_form(fit: FormFit, largest: float, predicted: tuple[Optimum, ...]) -> Headline:
    """The local power law at the largest compute: with exact FLOPs N*(C) of a form is no straight line."""
    estimate = fit.problem.coefficients(fit.theta)[None]
    exponent = float(_slope(fit, estimate, largest)[0])
    params = float(optimal_params(fit.form, estimate, np.array([largest]), fit.shapes)[0])
    return Headline(
        approach="parametric",
        basis=f"approach 3: {fit.form.expression} through {len(fit.runs)} runs, since approach 2 gives no law",
        exponent=exponent,
        exponent_interval=percentile_interval(_slope(fit, fit.resamples.draws, largest), 0.9),
        prefactor=float(params / largest**exponent),
        fitted_to=largest,
        predictions=predicted,
    )


def _slope(fit: FormFit, coefficients: Array, flops: float) -> Array:
    low, high = (
        optimal_params(fit.form, coefficients, np.array([flops * factor]), fit.shapes)
        for factor in (1 / SLOPE_SPAN, SLOPE_SPAN)
    )
    return np.asarray(np.log(high / low) / (2 * np.log(SLOPE_SPAN)))
