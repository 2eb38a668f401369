"""Held-out truth: laws fitted on small budgets, scored on larger ones, with the coverage of their own intervals.

Each of the four largest budgets is predicted from all smaller ones. Forms are chosen on the inner folds (all targets
but the largest budget) and scored on the outer one (the largest), so that the score of the chosen form is no part of
the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analysis import notation
from analysis.backtest_scores import Backtest, FoldScore
from analysis.errors import FitError, LawError
from analysis.fitting.optimum import Optimum
from analysis.isoflop import fit_isoflop
from analysis.minima import CurveMinimum
from analysis.points import average_replicates, with_budgets
from analysis.results import FitWarning, Interval
from analysis.table import Array, Runs
from analysis.trend import t_quantile
from analysis.tuning import one_point_each

if TYPE_CHECKING:
    from analysis.fitting.objective import Objective
    from analysis.fitting.solve import Engine
    from analysis.formfit import FormFit

FORMS = ("additive", "equal-exponents", "gamma", "kaplan-joint")
"""Forms in N and D that are compared unless others are named."""

LEAST_BUDGETS = 2
"""Budgets that a law is fitted on at least; their successor is the first target."""

MOST_TARGETS = 4
"""Largest budgets that are predicted, each from all below it (chosen: three to choose a form on, one to score it)."""

_PARTS = 6


def backtest(
    runs: Runs,
    *,
    forms: Sequence[str] = FORMS,
    objective: Objective | None = None,
    level: float = 0.9,
    seed: int = 0,
    engine: Engine = "auto",
) -> Backtest:
    """Fit on small budgets, score on larger ones.

    Args:
        runs: Finished runs at three budgets or more; runs without budgets are cut into six parts of equal number by
            FLOPs.
        forms: Forms to compare, in N and D.
        objective: What the forms minimise; None for Huber with delta from the noise.
        level: Nominal level of the intervals whose coverage is counted.
        seed: Seed of searches and resamples.
        engine: Which solver fits the forms.

    Raises:
        FitError: Fewer than three budgets, or no form can be fitted to the smaller ones.
    """
    if not forms:
        raise FitError(f"no forms to compare; expected at least one of {', '.join(FORMS)}. Name one.")
    runs, grouping = _grouped(one_point_each(runs))
    budgets = np.unique(runs.column("budget"))
    if len(budgets) <= LEAST_BUDGETS:
        raise FitError(
            f"{runs.source or 'the table'} has {len(budgets)} budget{'s' if len(budgets) != 1 else ''}; a backtest "
            "fits on two at "
            "least and scores on a larger one. Add budgets."
        )
    minima = _minima(runs, level) if grouping == "budget" else {}
    settings = _Settings(objective=objective, level=level, seed=seed, engine=engine)
    first = max(LEAST_BUDGETS, len(budgets) - MOST_TARGETS)
    compared = forms if len(budgets) - first > 1 else forms[:1]
    folds: list[FoldScore] = []
    failures: dict[tuple[str, float], str] = {}
    for k in range(first, len(budgets)):
        train, test = _at(runs, budgets[:k]), _at(runs, budgets[k : k + 1])
        for method in (*(["isoflop"] if minima else []), *compared):
            blank = FoldScore(method=method, fitted_on=tuple(budgets[:k].tolist()), target=float(budgets[k]))
            try:
                folds.append(_score(blank, train, test, minima.get(blank.target), settings))
            except (FitError, LawError) as error:
                failures[method, blank.target] = str(error)
    inner = _inner_rmse([f for f in folds if f.target < budgets[-1]], forms, len(budgets) - first - 1)
    outer = {f.method: f for f in folds if f.target == budgets[-1] and f.rmse is not None}
    candidates = {form: inner[form] for form in forms if form in inner and form in outer}
    chosen = min(candidates, key=lambda form: candidates[form]) if candidates else next(iter(outer), None)
    if chosen is None:
        raise FitError(f"no form can be fitted to the smaller budgets: {next(iter(failures.values()))}")
    result = Backtest(
        folds=tuple(folds), chosen=chosen, inner_rmse=inner, outer=outer[chosen], level=level, budgets=grouping,
        failures=failures, warnings=(),
    )  # fmt: skip
    return replace(result, warnings=tuple(_warnings(result, forms)))


@dataclass(frozen=True, kw_only=True)
class _Settings:
    objective: Objective | None
    level: float
    seed: int
    engine: Engine


def _grouped(runs: Runs) -> tuple[Runs, str]:
    """Runs with budgets: their own, tight groups of FLOPs, or else six parts of equal number."""
    try:
        grouped = with_budgets(runs)
        return grouped, "budget"
    except FitError:
        flops = runs.column("flops")
        parts = min(_PARTS, len(np.unique(flops)))
        edges = np.quantile(flops, np.linspace(0, 1, parts + 1)[1:-1])
        label = np.searchsorted(edges, flops, side="left")
        top = np.array([flops[label == k].max() if (label == k).any() else 0.0 for k in range(parts)])
        note = f"runs cut into {parts} parts of equal number by FLOPs"
        return replace(runs, frame=runs.frame.assign(budget=top[label])), note


def _at(runs: Runs, budgets: Array) -> Runs:
    kept = runs.frame[runs.frame["budget"].isin(budgets)]
    return replace(runs, frame=kept.reset_index(drop=True))


def _minima(runs: Runs, level: float) -> dict[float, CurveMinimum]:
    """Observed minima by budget, of those that lie inside."""
    try:
        return {m.budget: m for m in fit_isoflop(runs, level=level).minima if m.usable}
    except FitError:
        return {}


def _score(blank: FoldScore, train: Runs, test: Runs, observed: CurveMinimum | None, settings: _Settings) -> FoldScore:
    from analysis.parametric import fit_form

    if blank.method == "isoflop":
        return _with_optimum(blank, fit_isoflop(train, level=settings.level).optimum(blank.target), observed)
    fit = fit_form(train, blank.method, settings.objective, seed=settings.seed, engine=settings.engine)
    points = average_replicates(test).frame
    N, D, loss, replicates = (points[c].to_numpy(np.float64) for c in ("params", "tokens", "loss", "replicates"))
    error = fit.predict(N, D) - loss
    half = prediction_half_widths(fit, N, D, replicates, settings.level)
    score = replace(
        blank,
        points=len(loss),
        error=float(error.mean()),
        rmse=float(np.sqrt((error**2).mean())),
        covered=float((np.abs(error) <= half).mean()),
    )
    if observed is None:
        return score
    return _with_optimum(score, fit.optimum(blank.target, level=settings.level), observed)


def prediction_half_widths(fit: FormFit, N: Array, D: Array, replicates: Array, level: float) -> Array:
    """Half-widths of prediction intervals of seed-averaged losses.

    The law's own error by bootstrap, and in quadrature the runs' scatter: the `level` quantile of the residuals' sizes,
    inflated by what the coefficients took out, since real residuals have heavier tails than a normal.
    """
    draws = fit.resamples.draws
    named = {name: draws[:, [k]] for k, name in enumerate(fit.form.names)}
    spread = np.asarray(fit.form.loss(named, {"params": N, "tokens": D})).std(axis=0, ddof=1)
    degrees = max(len(fit.runs) - len(fit.form.names), 1)
    scatter = np.quantile(np.abs(fit.residuals), level) * np.sqrt(len(fit.runs) / degrees)
    scale = fit.predict(N, D) if fit.objective.space == "log" else np.ones_like(N)
    return np.asarray(np.hypot(t_quantile(degrees, level) * spread, scale * scatter / np.sqrt(replicates)))


def _with_optimum(score: FoldScore, predicted: Optimum, observed: CurveMinimum | None) -> FoldScore:
    if observed is None or observed.params is None or observed.loss is None or predicted.loss is None:
        return score
    spans = predicted.intervals
    loss_gap, log_gap = predicted.loss - observed.loss, np.log(predicted.params / observed.params)
    return replace(
        score,
        loss_error=loss_gap,
        params_ratio=predicted.params / observed.params,
        loss_covered=_within(loss_gap, _half(spans["loss"]), _half(observed.loss_interval)),
        params_covered=_within(log_gap, _log_half(spans["params"]), _log_half(observed.params_interval)),
    )


def _within(gap: float, first: float | None, second: float | None) -> bool | None:
    """Whether a gap is within two half-widths in quadrature, None where one of them is open."""
    return None if first is None or second is None else bool(abs(gap) <= np.hypot(first, second))


def _half(interval: Interval | None) -> float | None:
    if interval is None or interval.low is None or interval.high is None:
        return None
    return (interval.high - interval.low) / 2


def _log_half(interval: Interval | None) -> float | None:
    if interval is None or interval.low is None or interval.high is None:
        return None
    return float(np.log(interval.high / interval.low) / 2)


def _inner_rmse(folds: Sequence[FoldScore], forms: Sequence[str], wanted: int) -> dict[str, float]:
    """Error of each form that could be fitted in every inner fold."""
    by_form = {form: [f.rmse for f in folds if f.method == form and f.rmse is not None] for form in forms}
    return {form: float(np.sqrt(np.mean(np.square(r)))) for form, r in by_form.items() if wanted and len(r) == wanted}


def _warnings(result: Backtest, forms: Sequence[str]) -> list[FitWarning]:
    found = []
    if not result.inner_rmse and len(forms) > 1:
        message = (
            f"three budgets leave no inner fold to choose a form on; {result.chosen} is scored because it was named "
            "first. "
            "Add a budget to compare forms."
        )
        found.append(FitWarning("few_budgets", message, 2.0))
    covered, points = result.outer.covered, result.outer.points
    if covered is not None and points:
        slack = 2 * np.sqrt(result.level * (1 - result.level) / points)
        if covered < result.level - slack:
            message = (
                f"{round(covered * points)} of {points} points at the largest budget lie inside the "
                f"{notation.percent(result.level)} intervals of {result.chosen} fitted on smaller ones: the intervals are too "
                "narrow. Widen them when extrapolating, or try other forms."
            )
            found.append(FitWarning("undercoverage", message, 3.5))
    return found
