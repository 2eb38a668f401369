"""Two sweeps compared: what is one recipe's compute worth in the other's, and is the slope really the same?

Both loss frontiers are L*(C) = E + e^k (C/C0)^-γ with one E, that of the shared evaluation text. Then recipe b at C
reaches what recipe a reaches at m C, with ln m = (k_a - k_b - (γ_a - γ_b) ln(C/C0)) / γ_a: the effective-compute
multiplier. A recipe with the same slope is worth a constant factor; only a different slope gains with scale.

Minima with their errors come from approach 2 (`analysis.frontier_comparison`). Where a sweep has fewer than two, a form
is fitted to each sweep instead (`analysis.form_comparison`), and a warning says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from analysis import notation
from analysis.conventions import MixKind, refuse_mixtures
from analysis.documents import jsonable
from analysis.errors import FitError, LawError
from analysis.frontier_comparison import POWER, Pair, offset
from analysis.isoflop import fit_isoflop
from analysis.minima import CurveMinimum
from analysis.results import Difference, FitWarning, Interval
from analysis.table import Runs

if TYPE_CHECKING:
    from analysis.formfit import FormFit

__all__ = ["POWER", "Comparison", "Difference", "compare"]

DRAWS = 200
"""Bootstrap draws of each sweep's form, where forms are compared (chosen)."""

Method = Literal["auto", "isoflop", "parametric"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Sweep b against sweep a.

    Attributes:
        method: `isoflop` or `parametric`: what the frontiers are made of.
        flops: C at which offset and multiplier are stated: the geometric middle of the shared range.
        offset: L*_b - L*_a at that C in nats; negative where b is better.
        slope_difference: γ_b - γ_a; positive where b gains on a with scale.
        multiplier: Compute of a that equals one unit of b's at that C; above 1 where b is better.
        multipliers: The same at other C, by C.
        crossover: C at which both are equal; None where the slopes are not told apart.
        level: Nominal level of the intervals.
        budgets: Number of minima of a and of b; None for forms.
        warnings: What weakens the comparison.
    """

    method: str
    flops: float
    offset: Difference
    slope_difference: Difference
    multiplier: Difference
    multipliers: dict[float, Difference]
    crossover: float | None
    level: float
    budgets: tuple[int, int] | None
    warnings: tuple[FitWarning, ...]

    def to_json(self) -> dict[str, Any]:
        """The comparison as a JSON object; numbers at the top level, each beside its interval."""
        document: dict[str, Any] = jsonable(
            {
                "method": self.method,
                "flops": self.flops,
                "multiplier": self.multiplier.value,
                "multiplier_interval": self.multiplier.interval,
                "multiplier_detectable": self.multiplier.detectable,
                "offset": self.offset.value,
                "offset_interval": self.offset.interval,
                "offset_detectable": self.offset.detectable,
                "slope_difference": self.slope_difference.value,
                "slope_difference_interval": self.slope_difference.interval,
                "slope_difference_detectable": self.slope_difference.detectable,
                "crossover": self.crossover,
                "at": [
                    {"flops": C, "multiplier": d.value, "interval": d.interval} for C, d in self.multipliers.items()
                ],
                "budgets": None if self.budgets is None else {"a": self.budgets[0], "b": self.budgets[1]},
                "warnings": [{"code": w.code, "message": w.message} for w in self.warnings],
            }
        )
        return document


def compare(
    a: Runs,
    b: Runs,
    *,
    flops: Sequence[float] = (),
    level: float = 0.9,
    allow_mixed: Collection[MixKind] = (),
    method: Method = "auto",
    form: str = "additive",
    seed: int = 0,
) -> Comparison:
    """Compare the compute-optimal losses of two sweeps.

    Args:
        a: The baseline's runs, at two budgets or more.
        b: The other recipe's runs.
        flops: Further C at which to state the multiplier, beside the ends of the shared range and ten times its top.
        level: Nominal level of the intervals.
        allow_mixed: Differences between the sweeps taken on purpose: `flops_rule`, `evaluation`, `decay`.
        method: `isoflop` for minima, `parametric` for forms, `auto` for forms where a sweep has fewer than two minima.
        form: The form.
        seed: Seed of the form's search and bootstrap.

    Raises:
        ConventionError: The sweeps count FLOPs or evaluate differently.
        FitError: Neither method has a result, or a sweep's loss does not fall with compute.
    """
    _refuse_different(a, b, allow_mixed)
    if method == "parametric":
        return _by_forms(a, b, flops, level, form, seed, reason=None)
    try:
        first, second = _minima(a, "a", level), _minima(b, "b", level)
    except FitError as error:
        if method == "isoflop":
            raise
        return _by_forms(a, b, flops, level, form, seed, reason=error)
    return _by_minima(first, second, flops, level)


def _by_minima(
    first: Sequence[CurveMinimum], second: Sequence[CurveMinimum], flops: Sequence[float], level: float
) -> Comparison:
    ranges = [(minima[0].budget, minima[-1].budget) for minima in (first, second)]
    low, high = _shared(*ranges)
    pair = Pair.of(first, second, middle=float(np.sqrt(low * high)))
    slope = pair.slope_difference(level)
    crossover = pair.crossover() if _told_apart(slope) else None
    multiplier = pair.multiplier(pair.middle, level)
    return Comparison(
        method="isoflop",
        flops=pair.middle,
        offset=pair.difference(offset, level),
        slope_difference=slope,
        multiplier=multiplier,
        multipliers={C: pair.multiplier(C, level) for C in dict.fromkeys([low, high, 10 * high, *flops])},
        crossover=crossover,
        level=level,
        budgets=(len(first), len(second)),
        warnings=_ranked(
            [*_warnings(ranges, slope, multiplier, crossover, level), *_few_budgets(len(first), len(second))]
        ),
    )


def _by_forms(
    a: Runs, b: Runs, flops: Sequence[float], level: float, form: str, seed: int, *, reason: FitError | None
) -> Comparison:
    from analysis.form_comparison import crossing, fitted_frontiers, spread
    from analysis.parametric import fit_form

    try:
        fits = (fit_form(a, form, seed=seed), fit_form(b, form, seed=seed))
        frontiers = fitted_frontiers(*fits, draws=DRAWS, seed=seed)
    except (FitError, LawError) as error:
        told = f"{reason} Nor can a form be compared: {error}" if reason else str(error)
        raise FitError(told) from None
    ranges = [(float(C.min()), float(C.max())) for C in (runs.column("flops") for runs in (a, b))]
    low, high = _shared(*ranges)
    middle = float(np.sqrt(low * high))

    def multiplier(C: float) -> Difference:
        return spread(frontiers.log_multiplier(C), level, POWER, back=lambda x: float(np.exp(x)))

    slope = spread(frontiers.slopes(frontiers.b, middle) - frontiers.slopes(frontiers.a, middle), level, POWER)
    crossover = crossing(frontiers, 0.1 * low, 10 * high) if _told_apart(slope) else None
    at_middle = multiplier(middle)
    return Comparison(
        method="parametric",
        flops=middle,
        offset=spread(frontiers.offset(middle), level, POWER),
        slope_difference=slope,
        multiplier=at_middle,
        multipliers={C: multiplier(C) for C in dict.fromkeys([low, high, 10 * high, *flops])},
        crossover=crossover,
        level=level,
        budgets=None,
        warnings=_ranked([*_warnings(ranges, slope, at_middle, crossover, level), *_about_forms(fits, reason)]),
    )


def _about_forms(fits: Sequence[FormFit], reason: FitError | None) -> list[FitWarning]:
    """What must be known of a comparison of forms: why it is one, and what weakens the fits."""
    found = []
    if reason is not None:
        message = (
            f"compared through the {fits[0].form.name} form fitted to each sweep, each with its own E, since minima can't "
            f"be: {reason}"
        )
        found.append(FitWarning("no_result", message, 3.0))
    for name, fit in zip("ab", fits, strict=True):
        serious = [w for w in fit.warnings if w.code in ("not_converged", "e_not_identified", "at_bound")]
        found += [FitWarning(w.code, f"sweep {name}: {w.message}", w.severity) for w in serious]
    return found


def _minima(runs: Runs, name: str, level: float) -> list[CurveMinimum]:
    try:
        fit = fit_isoflop(runs, level=level)
    except FitError as error:
        raise FitError(f"sweep {name}: {error}") from None
    found = [m for m in fit.minima if m.usable]
    if len(found) < 2:
        raise FitError(
            f"sweep {name} has {len(found)} budgets with a minimum inside; a comparison of frontiers needs two. "
            "Add sizes on the side where the minimum is missing."
        )
    losses = [m.loss or np.inf for m in found]
    if np.polyfit(np.log([m.budget for m in found]), losses, 1)[0] >= 0:
        raise FitError(f"sweep {name}: its loss does not fall with compute; expected a frontier. Check its budgets.")
    return found


def _refuse_different(a: Runs, b: Runs, allow_mixed: Collection[MixKind]) -> None:
    columns = ["flops_rule", "corpus", "heldout_tokens", "context", "decayed"]
    both = pd.concat([runs.frame.reindex(columns=columns).head(1) for runs in (a, b)], ignore_index=True)
    rules = np.array([runs.flops_rule for runs in (a, b)], dtype=object)
    kinds: list[MixKind] = [k for k in ("flops_rule", "evaluation", "decay") if k not in allow_mixed]
    refuse_mixtures(both.assign(flops_rule=rules), kinds=kinds)


Range = tuple[float, float]
"""Smallest and largest C of a sweep."""


def _shared(a: Range, b: Range) -> Range:
    """Ends of the range of C that both cover; the gap between them where they do not overlap."""
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return min(low, high), max(low, high)


def _told_apart(slope: Difference) -> bool:
    return slope.interval.low is not None and slope.interval.high is not None and not _contains(slope.interval, 0.0)


def _contains(interval: Interval, value: float) -> bool:
    return (interval.low is None or interval.low <= value) and (interval.high is None or value <= interval.high)


def _warnings(
    ranges: Sequence[Range], slope: Difference, multiplier: Difference, crossover: float | None, level: float
) -> list[FitWarning]:
    found = []
    (low_a, high_a), (low_b, high_b) = ranges
    if max(low_a, low_b) > min(high_a, high_b):
        spans = " and ".join(f"{notation.flops(low)} to {notation.flops(high)}" for low, high in ranges)
        message = (
            f"the sweeps' budgets do not overlap ({spans} FLOPs): one frontier is extrapolated. Repeat one budget in "
            "both."
        )
        found.append(FitWarning("extrapolation", message, 4.0))
    reach = (0.1 * min(low_a, low_b), 10 * max(high_a, high_b))
    if crossover is not None and not reach[0] < crossover < reach[1]:
        message = f"the crossover at {notation.flops(crossover)} FLOPs lies more than ten times outside the budgets."
        found.append(FitWarning("extrapolation", message, 3.0))
    if _contains(slope.interval, 0.0) and slope.detectable is not None:
        message = (
            f"the slopes are not told apart ({slope.value:+.3g}); a difference below {slope.detectable:.2g} would "
            "not have shown. Don't extrapolate a change of the multiplier."
        )
        found.append(FitWarning("slopes_not_told_apart", message, 1.5))
    if _contains(multiplier.interval, 1.0) and multiplier.detectable is not None:
        message = (
            f"at the middle of the budgets neither is better beyond doubt ({level:.0%}); a multiplier below "
            f"{multiplier.detectable:.3g} would not have shown. Add seeds near the minima."
        )
        found.append(FitWarning("no_difference_seen", message, 2.0))
    return found


def _few_budgets(a: int, b: int) -> list[FitWarning]:
    if min(a, b) >= 3:
        return []
    message = (
        f"{a} and {b} budgets with a minimum inside: a slope from two points rests on their noise alone. Add budgets."
    )
    return [FitWarning("few_budgets", message, 3.0)]


def _ranked(warnings: list[FitWarning]) -> tuple[FitWarning, ...]:
    return tuple(sorted(warnings, key=lambda warning: -warning.severity))
