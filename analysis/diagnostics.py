"""Everything that can weaken a fit, as one list of questions with what was computed and what to do.

Fits carry the warnings that they can give themselves. Here these are put beside checks that need the whole table, the
loss curves or a second fit, under stable codes; a question that could not be asked says so instead of passing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from analysis import notation
from analysis.collapse import collapse_curves
from analysis.documents import ranked
from analysis.errors import FitError, LawError
from analysis.isoflop import IsoflopFit
from analysis.points import average_replicates
from analysis.results import FitWarning
from analysis.run_checks import (
    Outcome,
    check_conventions,
    check_distance,
    check_repetition,
    check_schedule,
    check_six_nd,
    check_stopping,
    check_warmup,
)
from analysis.table import Array, Runs

if TYPE_CHECKING:
    from analysis.formfit import FormFit

QUESTIONS: Mapping[str, str] = {
    "not_converged": "Did the search reach the minimum of its objective?",
    "e_not_identified": "Do the runs determine the irreducible loss E?",
    "at_bound": "Did a coefficient stop at its limit?",
    "few_budgets": "Are there enough budgets for the exponent to have an interval?",
    "edge_minimum": "Does every budget have its minimum inside the sizes that were run?",
    "no_minimum": "Does every budget's curve bend upwards, over three sizes or more?",
    "grid_off_centre": "Are the sizes centred on the optimum at every budget?",
    "noise_exceeds_depth": "Are the curves deeper than the noise of their points?",
    "approaches_disagree": "Do the approaches agree beyond the largest budget?",
    "residual_mean": "Is the mean residual zero?",
    "residual_trend": "Are the residuals free of trends?",
    "lack_of_fit": "Does the law miss the points by no more than seeds scatter?",
    "delta_sensitive": "Does the fit hold for other thresholds between small and large residuals?",
    "space_sensitive": "Does the fit hold for residuals of the loss instead of its logarithm?",
    "influential_runs": "Does the fit hold without any single run?",
    "extrapolation": "Is the target within reach of the budgets?",
    "mixed_conventions": "Were all runs counted, evaluated and scheduled alike?",
    "six_nd": "Is 6ND close to the FLOPs that were counted?",
    "schedule_not_matched": "Had the learning rate decayed to its end at every run's D?",
    "warmup_too_long": "Is warm-up a small part of every run?",
    "repeated_data": "Were the tokens fresh?",
    "stopped_by_interval": "Was the number of runs fixed before their losses were seen?",
    "curves_fall_off": "Do all loss curves collapse onto one?",
    "looks_synthetic": "Do the losses scatter as training runs do?",
}
"""What each code asks; a code that fires means that the answer is no."""

_ASKED_BY_ISOFLOP = {
    "few_budgets",
    "edge_minimum",
    "no_minimum",
    "grid_off_centre",
    "noise_exceeds_depth",
    "looks_synthetic",
}
_ASKED_BY_FORM = {
    "not_converged", "e_not_identified", "at_bound", "residual_trend", "delta_sensitive", "influential_runs", "looks_synthetic",
}  # fmt: skip

SPACE_FACTOR = 1.1
"""Change of N* at ten times the largest budget between residual spaces that is worth a warning (chosen)."""

LACK_OF_FIT_LEVEL = 0.01


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One question and its answer.

    Attributes:
        code: Stable name.
        question: What is asked.
        answer: `fine`, `weakens`, or `not asked` where the runs or fits do not hold what it needs.
        computed: What was computed, and what to do where it weakens the fit.
    """

    code: str
    question: str
    answer: str
    computed: str


def diagnose(
    runs: Runs,
    *,
    isoflop: IsoflopFit | None = None,
    parametric: FormFit | None = None,
    curves: pd.DataFrame | None = None,
    target: float | None = None,
    found: Iterable[FitWarning] | None = None,
) -> tuple[Diagnostic, ...]:
    """Answer every question of `QUESTIONS`.

    Args:
        runs: Finished runs.
        isoflop: Approach 2 on them.
        parametric: Approach 3 on them.
        curves: Their loss curves.
        target: C of the prediction that matters.
        found: Warnings of `compare_approaches` or `fit_all`; None where the approaches were not compared.
    """
    given = [*(isoflop.warnings if isoflop else ()), *(parametric.warnings if parametric else ()), *(found or ())]
    outcomes = _outcomes(runs, isoflop, parametric, curves, target)
    asked = {
        *(_ASKED_BY_ISOFLOP if isoflop else ()),
        *(_ASKED_BY_FORM if parametric else ()),
        *({"approaches_disagree"} if isoflop and parametric and found is not None else ()),
    }
    return tuple(
        _answered(code, [w for w in given if w.code == code], outcomes.get(code), code in asked) for code in QUESTIONS
    )


def check_runs(
    runs: Runs, *, isoflop: IsoflopFit | None, parametric: FormFit | None, curves: pd.DataFrame | None = None
) -> tuple[FitWarning, ...]:
    """Warnings of the checks that no fit makes for itself, the most severe first."""
    outcomes = _outcomes(runs, isoflop, parametric, curves, None).values()
    return tuple(ranked(outcome for outcome in outcomes if isinstance(outcome, FitWarning)))


def _outcomes(
    runs: Runs,
    isoflop: IsoflopFit | None,
    parametric: FormFit | None,
    curves: pd.DataFrame | None,
    target: float | None,
) -> dict[str, Outcome]:
    return {
        "mixed_conventions": check_conventions(runs),
        "six_nd": check_six_nd(runs),
        "schedule_not_matched": check_schedule(runs),
        "warmup_too_long": check_warmup(runs),
        "repeated_data": check_repetition(runs),
        "stopped_by_interval": check_stopping(runs),
        "residual_mean": _residual_mean(parametric),
        "lack_of_fit": _lack_of_fit(isoflop, parametric),
        "space_sensitive": _space(parametric),
        "curves_fall_off": _fall_off(runs, curves, parametric),
        "extrapolation": check_distance(runs, target),
    }


def _answered(code: str, given: list[FitWarning], outcome: Outcome, asked: bool) -> Diagnostic:
    messages = [w.message for w in given] + ([outcome.message] if isinstance(outcome, FitWarning) else [])
    if messages:
        return _diagnostic(code, "weakens", " ".join(dict.fromkeys(messages)))
    if isinstance(outcome, str):
        return _diagnostic(code, "fine", outcome)
    if asked:
        return _diagnostic(code, "fine", "nothing found")
    return _diagnostic(code, "not asked", "the table or the fits do not hold what it needs")


def _diagnostic(code: str, answer: str, computed: str) -> Diagnostic:
    return Diagnostic(code=code, question=QUESTIONS[code], answer=answer, computed=computed)


def _residual_mean(fit: FormFit | None) -> Outcome:
    if fit is None or len(fit.residuals) < 3:
        return None
    residuals = fit.residuals
    mean, scale = float(residuals.mean()), float(1.4826 * np.median(np.abs(residuals - np.median(residuals))))
    error = scale / np.sqrt(len(residuals))
    computed = f"mean residual {mean:+.2g}, robust standard error {error:.2g}"
    if abs(mean) <= max(3 * error, 1e-9):
        return computed
    message = (
        f"{computed}: a few runs lie far on one side, which the objective discounts. Look at the largest residuals."
    )
    return FitWarning("residual_mean", message, 2.0)


def _lack_of_fit(isoflop: IsoflopFit | None, parametric: FormFit | None) -> Outcome:
    """F test of misfit against pure error, where seeds are replicated."""
    tests = [test for test in (_curve_misfit(isoflop), _form_misfit(parametric)) if test is not None]
    if not tests:
        return None
    from scipy.special import fdtrc

    words, failed = [], False
    for name, (misfit, misfit_degrees, pure, pure_degrees) in tests:
        ratio = (misfit / misfit_degrees) / (pure / pure_degrees) if pure > 0 else np.inf
        chance = float(fdtrc(misfit_degrees, pure_degrees, ratio))
        words.append(f"{name} misses its points by {np.sqrt(ratio):.2g} times the scatter of seeds (p = {chance:.2g})")
        failed |= chance < LACK_OF_FIT_LEVEL
    computed = "; ".join(words)
    if not failed:
        return computed
    message = f"{computed}: more seeds will not help. Narrow the sizes, or choose a form by backtest."
    return FitWarning("lack_of_fit", message, 2.5)


Misfit = tuple[str, tuple[float, float, float, float]]


def _curve_misfit(fit: IsoflopFit | None) -> Misfit | None:
    if fit is None or fit.curve != "parabola":
        return None
    curves = [m.curve for m in fit.minima if m.curve.parabola is not None]
    pure = sum(c.squares for c in curves)
    pure_degrees = float(sum(c.replicates.sum() - len(c.loss) for c in curves))
    misfit = sum(c.misfit for c in curves) - pure
    degrees = float(sum(len(c.loss) - 3 for c in curves))
    return ("the parabola", (misfit, degrees, pure, pure_degrees)) if pure_degrees >= 3 and degrees >= 1 else None


def _form_misfit(fit: FormFit | None) -> Misfit | None:
    if fit is None:
        return None
    members = average_replicates(fit.runs).members
    residuals = fit.residuals[members >= 0]
    groups = members[members >= 0]
    counts = np.bincount(groups)
    means = np.bincount(groups, residuals) / np.maximum(counts, 1)
    pure = float(((residuals - means[groups]) ** 2).sum())
    pure_degrees = float((counts - 1).clip(0).sum())
    degrees = float((counts > 0).sum() - len(fit.form.names))
    misfit = float((counts * means**2).sum())
    return (
        (f"the {fit.form.name} form", (misfit, degrees, pure, pure_degrees))
        if min(pure_degrees, degrees) >= 3
        else None
    )


def _space(fit: FormFit | None) -> Outcome:
    """N* ten times beyond the largest budget, from residuals of the loss and of its logarithm."""
    if fit is None or not fit.exponents:
        return None
    from analysis.fitting.objective import parse_objective
    from analysis.parametric import fit_form

    flops = 10 * float(fit.runs.column("flops").max())
    other: Literal["log", "linear"] = "linear" if fit.objective.space == "log" else "log"
    try:
        objective = parse_objective({"huber": "huber:auto"}.get(fit.objective.kind, fit.objective.kind))
        second = fit_form(fit.runs, fit.form, objective, other, seed=fit.seed, engine=fit.engine)
        sizes = [_optimal_size(one, flops) for one in (fit, second)]
    except (FitError, LawError):
        return None
    computed = (
        f"N* at {notation.flops(flops)} FLOPs is {notation.count(sizes[0])} from {fit.objective.space} residuals and "
        f"{notation.count(sizes[1])} from {other} ones"
    )
    if max(sizes) <= SPACE_FACTOR * min(sizes):
        return computed
    message = f"{computed}: small and large losses disagree. Leave out the smallest runs, or choose a form by backtest."
    return FitWarning("space_sensitive", message, 2.0)


def _optimal_size(fit: FormFit, flops: float) -> float:
    from analysis.fitting.optimum import optimal_params

    coefficients: Array = np.array([[fit.coefficients[name] for name in fit.form.names]])
    return float(optimal_params(fit.form, coefficients, np.array([flops]), fit.shapes)[0])


def _fall_off(runs: Runs, curves: pd.DataFrame | None, fit: FormFit | None) -> Outcome:
    if curves is None or fit is None or "E" not in fit.coefficients:
        return None
    collapse = collapse_curves(runs, curves, floor=fit.coefficients["E"])
    if collapse is None:
        return None
    computed = f"{len(collapse.run_ids)} normalised loss curves agree to {collapse.spread:.1%}"
    if not collapse.fallen:
        return computed
    named = ", ".join(collapse.fallen[:5])
    message = (
        f"{computed}, except {len(collapse.fallen)} ({named}): their shape differs from their neighbours', as with a "
        "learning "
        "rate or batch that does not suit them. Look at their curves before trusting their losses."
    )
    return FitWarning("curves_fall_off", message, 2.5)
