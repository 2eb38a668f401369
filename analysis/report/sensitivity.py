"""What a parametric fit depends on beside its runs: Huber's delta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.fitting.objective import Huber
from analysis.formfit import FormFit
from analysis.parametric import fit_form
from analysis.report.outcome import Failed, attempt

_DELTAS = 9


@dataclass(frozen=True, kw_only=True)
class DeltaFit:
    """What the fit says with another delta.

    Attributes:
        delta: Huber's delta.
        values: Coefficients, and the exponent `a`.
    """

    delta: float
    values: Mapping[str, float]


def delta_fits(fit: FormFit) -> tuple[DeltaFit, ...]:
    """Refit with delta from a tenth to ten times that of the fit; empty where it has none."""
    if not 0 < fit.delta < np.inf:
        return ()
    made = []
    for delta in np.geomspace(fit.delta / 10, fit.delta * 10, _DELTAS):
        again = attempt(lambda delta=delta: _refit(fit, float(delta)))  # type: ignore[misc]
        if not isinstance(again, Failed):
            made.append(DeltaFit(delta=float(delta), values={**again.coefficients, **again.exponents}))
    return tuple(made)


def _refit(fit: FormFit, delta: float) -> FormFit:
    return fit_form(fit.runs, fit.form, Huber(delta=delta), fit.objective.space, seed=fit.seed, engine=fit.engine)
