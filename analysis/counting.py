"""One sweep under several counts of N: the exponent of N*(C) moves with what is counted, the runs do not.

Kaplan et al. counted blocks, Hoffmann et al. everything; Porian et al. 2024 (arXiv:2406.19146) trace much of the difference
between their exponents to it. At small sizes head and embedding are most of a model, and the exponents lie furthest apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from analysis.conventions import recount
from analysis.errors import AnalysisError, FitError
from analysis.isoflop import IsoflopFit, fit_isoflop
from analysis.table import Runs

COUNTED = ("blocks", "blocks+head", "total")


def fit_counts(runs: Runs, *, level: float = 0.9) -> Mapping[str, IsoflopFit]:
    """Approach 2 under every convention that the source's columns allow, those without a law left out.

    Raises:
        FitError: Fewer than two conventions have a law.
    """
    fits: dict[str, IsoflopFit] = {}
    for convention in COUNTED:
        try:
            frame, derived = recount(runs.frame, convention)
            counted = replace(runs, frame=frame, derived={**runs.derived, **derived}, params_convention=convention)
            fit = fit_isoflop(counted, level=level)
        except AnalysisError:
            continue
        if fit.params_trend is not None:
            fits[convention] = fit
    if len(fits) < 2:
        raise FitError(f"{len(fits)} conventions have a law; a comparison takes two. Add sizes or budgets.")
    return fits
