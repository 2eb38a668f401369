"""Everything that a report and the end of a run say, computed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from analysis.envelope import EnvelopeFit, fit_envelope
from analysis.fitting.shapes import shape_rule
from analysis.isoflop import IsoflopFit, fit_isoflop
from analysis.minima import CurveMinimum, common_variance, find_minimum, gather_curves
from analysis.parametric import FormFit, fit_form
from analysis.points import average_replicates, with_budgets
from analysis.reading import Source, read_runs
from analysis.report.headline import Headline, choose_headline
from analysis.report.outcome import Failed, attempt, found
from analysis.results import FitWarning
from analysis.sources import load_frame, read_curves
from analysis.stores import is_store
from analysis.table import Runs

LEVEL = 0.9
"""Nominal level of every interval of a report."""

Fit = TypeVar("Fit")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A source of runs and everything fitted to it.

    Attributes:
        source: What was read, as the user wrote it.
        title: Name of the sweep, or of the source.
        rows: All rows of the source, unfinished and failed runs included.
        runs: The runs that fits may use.
        curves: Loss curves, None where the source has none.
        minima: One per budget, also where there are too few for a fit; empty without budgets.
        isoflop: Approach 2.
        parametric: Approach 3.
        envelope: Approach 1.
        headline: N*(C), and predictions.
    """

    source: str
    title: str
    rows: pd.DataFrame
    runs: Runs | Failed
    curves: pd.DataFrame | None
    minima: tuple[CurveMinimum, ...]
    isoflop: IsoflopFit | Failed
    parametric: FormFit | Failed
    envelope: EnvelopeFit | Failed
    headline: Headline | Failed

    @property
    def warnings(self) -> tuple[FitWarning, ...]:
        """All that weakens the fits, most serious first, each code and message once."""
        fits = [fit for fit in (self.isoflop, self.parametric, self.envelope) if not isinstance(fit, Failed)]
        every = [*(warning for fit in fits for warning in fit.warnings), *_own_warnings(self)]
        return tuple(
            sorted({warning.message: warning for warning in every}.values(), key=lambda warning: -warning.severity)
        )

    @property
    def weaknesses(self) -> tuple[FitWarning, ...]:
        """The three things that weaken the fits most, no kind of thing twice."""
        worst: dict[str, FitWarning] = {}
        for warning in self.warnings:
            worst.setdefault(warning.code, warning)
        return tuple(worst.values())[:3]


def summarize(source: Source | Runs, *, seed: int = 0) -> Summary:
    """Fit all three approaches to a source, with whatever of them can be fitted.

    Args:
        source: A store, a file of runs, a data frame, or runs that were read already.
        seed: Seed of searches and resamples.

    Raises:
        SourceError: The source does not exist or is torn; or it is not a store, and its columns cannot be understood.
        ConventionError: Runs of a source other than a store mix conventions.
    """
    rows, name, runs = _read(source)
    curves = None if isinstance(source, (Runs, pd.DataFrame)) else found(attempt(lambda: _curves(source)))
    isoflop = _fitted(runs, lambda given: fit_isoflop(given, level=LEVEL))
    parametric = _fitted(runs, lambda given: fit_form(given, seed=seed))
    envelope = _fitted(runs, lambda given: fit_envelope(given, level=LEVEL))
    return Summary(
        source=name,
        title=_title(rows, name),
        rows=rows,
        runs=runs,
        curves=curves,
        minima=_minima(isoflop, runs),
        isoflop=isoflop,
        parametric=parametric,
        envelope=envelope,
        headline=choose_headline(isoflop, parametric, envelope),
    )


def _read(source: Source | Runs) -> tuple[pd.DataFrame, str, Runs | Failed]:
    """All rows, the source's name, and the runs that can be fitted; a store is reported on whatever it holds."""
    if isinstance(source, Runs):
        return source.frame, source.source, source
    rows, name = load_frame(source)
    if not isinstance(source, pd.DataFrame) and is_store(Path(source)):
        return rows, name, attempt(lambda: read_runs(source))
    return rows, name, read_runs(source)


def _curves(source: str | os.PathLike[str]) -> pd.DataFrame | None:
    return read_curves(source) if is_store(Path(source)) else None


def _title(rows: pd.DataFrame, name: str) -> str:
    sweeps = {str(sweep) for sweep in rows["sweep"].dropna()} if "sweep" in rows else set()
    return sweeps.pop() if len(sweeps) == 1 else Path(name).name


def _fitted(runs: Runs | Failed, fit: Callable[[Runs], Fit]) -> Fit | Failed:
    return runs if isinstance(runs, Failed) else attempt(lambda: fit(runs))


def _minima(isoflop: IsoflopFit | Failed, runs: Runs | Failed) -> tuple[CurveMinimum, ...]:
    """The fit's minima; where no law can be fitted, the curves that there are, so that they can be looked at."""
    if not isinstance(isoflop, Failed):
        return isoflop.minima
    return () if isinstance(runs, Failed) else found(attempt(lambda: _curve_minima(runs))) or ()


def _curve_minima(runs: Runs) -> tuple[CurveMinimum, ...]:
    grouped = with_budgets(runs)
    curves = gather_curves(average_replicates(grouped).frame, "params", shape_rule(grouped))
    common = common_variance(curves)
    return tuple(find_minimum(curve, kind="parabola", common=common, level=LEVEL) for curve in curves)


def _own_warnings(summary: Summary) -> Iterator[FitWarning]:
    """What no single fit can see."""
    for what, fit in (
        ("approach 2", summary.isoflop),
        ("approach 3", summary.parametric),
        ("approach 1", summary.envelope),
    ):
        if isinstance(fit, Failed) and not isinstance(summary.runs, Failed):
            yield FitWarning("no_fit", f"{what} has no result: {fit.reason}", 4.5)
    if (
        isinstance(summary.runs, Runs)
        and summary.minima
        and all((m.curve.replicates < 2).all() for m in summary.minima)
    ):
        yield FitWarning(
            "single_seed",
            "every point was run with one seed: noise is known from the curves' own scatter alone, which a bad fit "
            "inflates and a "
            "flexible one hides. Repeat the points next to the minima with another seed.",
            1.8,
        )
    lost = _unfinished(summary.rows)
    if lost:
        total = len(summary.rows)
        yield FitWarning(
            "runs_missing",
            f"{lost} of {total} runs have no loss and are not in the fit; see the table of runs.",
            1.5 + lost / total,
        )


def _unfinished(rows: pd.DataFrame) -> int:
    return int((rows["status"] != "ok").sum()) if "status" in rows else 0
