"""All three approaches on one table, and whether they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
import pandas as pd

from analysis import notation
from analysis.diagnostics import check_runs
from analysis.documents import jsonable, ranked
from analysis.envelope import EnvelopeFit, fit_envelope
from analysis.errors import FitError, LawError
from analysis.fitting.optimum import Optimum
from analysis.isoflop import IsoflopFit, fit_isoflop
from analysis.results import FitWarning
from analysis.table import Runs

if TYPE_CHECKING:
    from analysis.fitting.objective import Objective
    from analysis.formfit import FormFit

_T = TypeVar("_T")

METHODS = ("envelope", "isoflop", "parametric")

DISAGREEMENT_FACTOR = 1.2
"""Ratio of two N* at ten times the largest budget from which approaches disagree whatever their errors (chosen)."""

IMMATERIAL_FACTOR = 1.05
"""Ratio below which it does not matter (chosen: such a size costs less than 1e-3 nats), however small the errors."""

_TWO_ERRORS_LEVEL = 0.95


class _Fit(Protocol):
    def optimum(self, flops: float, *, level: float) -> Optimum: ...


@dataclass(frozen=True, kw_only=True)
class AllFits:
    """The three approaches, fitted to the same runs.

    Attributes:
        envelope: Approach 1; None where it has no result, as for the two that follow.
        isoflop: Approach 2.
        parametric: Approach 3.
        failures: For each approach without a result, why.
        warnings: Those of every fit and of their comparison, the most severe first.
    """

    envelope: EnvelopeFit | None
    isoflop: IsoflopFit | None
    parametric: FormFit | None
    failures: Mapping[str, str]
    warnings: tuple[FitWarning, ...]

    @property
    def fits(self) -> dict[str, EnvelopeFit | IsoflopFit | FormFit | None]:
        """The fits by method."""
        return {"envelope": self.envelope, "isoflop": self.isoflop, "parametric": self.parametric}

    def to_json(self) -> dict[str, Any]:
        """One JSON object: `fits` by method, null for one without a result, and `warnings`."""
        fits = {name: fit.to_json() if fit is not None else None for name, fit in self.fits.items()}
        document: dict[str, Any] = jsonable(
            {"fits": fits, "warnings": [{"code": w.code, "message": w.message} for w in self.warnings]}
        )
        return document


def fit_all(
    runs: Runs,
    curves: pd.DataFrame | None = None,
    *,
    form: str = "additive",
    objective: Objective | None = None,
    space: Literal["log", "linear"] = "log",
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    level: float = 0.9,
) -> AllFits:
    """Fit approaches 1, 2 and 3, and compare what they say ten times beyond the largest budget.

    Args:
        runs: Finished runs.
        curves: Loss curves for the envelope; None takes final losses.
        form: Form of approach 3.
        objective: What approach 3 minimises; None for Huber with delta from the noise.
        space: Residual space of approach 3.
        fixed: Coefficients of approach 3 held at a value.
        seed: Seed of approach 3's search and bootstrap.
        level: Nominal level of the intervals.

    Raises:
        FitError: None of the three has a result.
    """
    from analysis.parametric import fit_form

    failures: dict[str, str] = {}
    envelope = _attempt("envelope", failures, lambda: fit_envelope(runs, curves, level=level))
    isoflop = _attempt("isoflop", failures, lambda: fit_isoflop(runs, level=level))
    parametric = _attempt(
        "parametric", failures, lambda: fit_form(runs, form, objective, space, fixed=fixed, seed=seed)
    )
    fits = {"envelope": envelope, "isoflop": isoflop, "parametric": parametric}
    present = {name: fit for name, fit in fits.items() if fit is not None}
    if not present:
        raise FitError("no approach has a result. " + " ".join(f"{name}: {why}" for name, why in failures.items()))
    own = [warning for fit in present.values() for warning in fit.warnings]
    missing = [FitWarning("no_result", f"{name}: {why}", 4.0) for name, why in failures.items()]
    checked = check_runs(runs, isoflop=isoflop, parametric=parametric, curves=curves)
    found = dict.fromkeys(
        [*own, *missing, *checked, *compare_approaches(present, 10 * float(runs.column("flops").max()))]
    )
    return AllFits(
        envelope=envelope, isoflop=isoflop, parametric=parametric, failures=failures, warnings=tuple(ranked(found))
    )


def compare_approaches(fits: Mapping[str, _Fit], flops: float) -> list[FitWarning]:
    """Whether approaches differ in N* at C = `flops` by a factor of 1.2, or by more than their errors and 1.05.

    The errors are half-widths of 95 % intervals, combined in quadrature; the approaches share their runs, so that this
    is generous.
    """
    found = {name: size for name, fit in fits.items() if (size := _log_size(fit, flops)) is not None}
    apart = []
    for first, second in combinations(found, 2):
        gap = abs(found[first][0] - found[second][0])
        error = float(np.hypot(found[first][1], found[second][1]))
        if gap > max(np.log(IMMATERIAL_FACTOR), min(error, np.log(DISAGREEMENT_FACTOR))):
            apart.append(f"{first} and {second} differ by a factor {np.exp(gap):.2g} ({_in_errors(gap, error)})")
    if not apart:
        return []
    sizes = ", ".join(f"{name} {notation.count(np.exp(size))}" for name, (size, _) in found.items())
    message = (
        f"at {notation.flops(flops)} FLOPs, ten times the largest budget, N* is {sizes}: {'; '.join(apart)}. Look at "
        "the grid's edges and centre first, then at the form's residuals; trust the one that the backtest favours."
    )
    return [FitWarning("approaches_disagree", message, 3.5)]


def _in_errors(gap: float, error: float) -> str:
    """A gap in standard errors, of which `error` is two; without a bound on either size there are none."""
    return "one has no interval" if np.isinf(error) else f"{gap / error * 2 if error else np.inf:.1f} standard errors"


def _log_size(fit: _Fit, flops: float) -> tuple[float, float] | None:
    """Log of N* and the half-width of its 95 % interval (infinite where open); None without an optimum."""
    try:
        optimum = fit.optimum(flops, level=_TWO_ERRORS_LEVEL)
    except (FitError, LawError):
        return None
    span = optimum.intervals["params"]
    if span.low is None or span.high is None or span.low <= 0:
        return float(np.log(optimum.params)), float("inf")
    return float(np.log(optimum.params)), float(np.log(span.high / span.low) / 2)


def _attempt(name: str, failures: dict[str, str], fit: Callable[[], _T]) -> _T | None:
    try:
        return fit()
    except (FitError, LawError) as error:
        failures[name] = str(error)
        return None
