"""Everything that a report and the end of a run say, computed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import pandas as pd

from analysis.backtest_scores import Backtest
from analysis.combined import compare_approaches
from analysis.conventions import settings_of
from analysis.diagnostics import Diagnostic, check_runs, diagnose
from analysis.envelope import EnvelopeFit, fit_envelope
from analysis.fitting.solve import Engine
from analysis.formfit import FormFit
from analysis.heldout import backtest
from analysis.isoflop import IsoflopFit, fit_isoflop
from analysis.minima import CurveMinimum
from analysis.parametric import fit_form
from analysis.provisional import provisional_minima
from analysis.reading import Source, read_runs
from analysis.report.headline import AnyFit, Headline, Optima, choose_headline, compute_optima
from analysis.report.origin import Origin, origin_of
from analysis.report.outcome import Failed, attempt, found
from analysis.results import Dropped, FitWarning
from analysis.sources import has_curves, load_frame, read_curves
from analysis.stores import is_store
from analysis.table import Runs
from analysis.tuning import one_point_each

LEVEL = 0.9
"""Nominal level of every interval of a report."""

COMPILED_FROM = 1000
"""Runs from which fits are compiled: below, NumPy takes less than the eight seconds that compiling takes the first time."""

BACKTESTED = ("additive",)
"""Forms of the report's backtest; `isoflop backtest` compares more of them, and takes its time."""

Fit = TypeVar("Fit")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A source of runs and everything fitted to it.

    Attributes:
        source: What was read, as the user wrote it.
        title: Name of the sweep, or of the source.
        rows: All rows of the source, unfinished and failed runs included.
        setting: The setting that is fitted, of a sweep with several; None for a sweep of one.
        whole: The runs of all settings that have a loss.
        runs: The runs that fits may use: of one setting, with one for each point that was tuned.
        predictions: Names and documents of what was predicted before it was run, oldest first.
        curves: Loss curves, None where the source has none.
        minima: One per budget, also where there are too few for a fit; empty without budgets.
        isoflop: Approach 2.
        parametric: Approach 3.
        envelope: Approach 1.
        backtest: Approaches 2 and 3 fitted on smaller budgets and scored on larger ones.
        disagreement: Whether the approaches differ by more than their errors.
        checks: Warnings that need the whole table, the curves or a second fit.
        diagnostics: Every question that was asked of the fits, with its answer.
        optima: Compute-optimal models of each approach that has a result.
        headline: N*(C), and predictions.
        origin: What a store says of its sweep file, its sampler and the code that ran it; empty for other sources.
    """

    source: str
    title: str
    rows: pd.DataFrame
    setting: str | None
    whole: Runs | Failed
    runs: Runs | Failed
    predictions: tuple[tuple[str, dict[str, Any]], ...]
    curves: pd.DataFrame | None
    minima: tuple[CurveMinimum, ...]
    isoflop: IsoflopFit | Failed
    parametric: FormFit | Failed
    envelope: EnvelopeFit | Failed
    backtest: Backtest | Failed
    disagreement: tuple[FitWarning, ...]
    checks: tuple[FitWarning, ...]
    diagnostics: tuple[Diagnostic, ...]
    optima: Optima
    headline: Headline | Failed
    origin: Origin = Origin()  # noqa: RUF009 - frozen, with tuples and empty mappings alone

    @property
    def fits(self) -> dict[str, AnyFit | Failed]:
        """The three approaches by name, the one that the headline prefers first."""
        return {"isoflop": self.isoflop, "parametric": self.parametric, "envelope": self.envelope}

    @property
    def tried(self) -> Runs | Failed:
        """The runs of the fitted setting as they were made, with every try of a point that was tuned."""
        return _only(self.whole, self.setting)

    @property
    def left_out(self) -> tuple[Dropped, ...]:
        """What was left out when the source was read, and why."""
        return () if isinstance(self.tried, Failed) else self.tried.dropped

    @property
    def tuned(self) -> tuple[Dropped, ...]:
        """Points that were tuned, and what stands for each in the fits."""
        return () if isinstance(self.runs, Failed) else self.runs.dropped[len(self.left_out) :]

    @property
    def warnings(self) -> tuple[FitWarning, ...]:
        """All that weakens the fits, most serious first, each code and message once."""
        parts = (self.isoflop, self.parametric, self.envelope, self.backtest)
        from_parts = [warning for part in parts if not isinstance(part, Failed) for warning in part.warnings]
        every = [*from_parts, *self.disagreement, *self.checks, *_own_warnings(self)]
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


class _Asked(TypedDict):
    isoflop: IsoflopFit | None
    parametric: FormFit | None


def summarize(source: Source | Runs, *, setting: str | None = None, seed: int = 0) -> Summary:
    """Fit all three approaches to a source, with whatever of them can be fitted.

    Args:
        source: A store, a file of runs, a data frame, or runs that were read already.
        setting: Which setting of a sweep with several is fitted; None for its first, the baseline.
        seed: Seed of searches and resamples.

    Raises:
        SourceError: No run has that setting. The source does not exist or is torn; or it is not a store, and its
            columns cannot be understood.
        ConventionError: Runs of a source other than a store mix conventions.
    """
    rows, name, whole = _read(source)
    if setting is None and not isinstance(whole, Failed):
        setting = next(iter(settings_of(whole.frame)), None)
    runs = _of_setting(whole, setting)
    curves = None if isinstance(source, (Runs, pd.DataFrame)) else found(attempt(lambda: _curves(source)))
    isoflop = _fitted(runs, lambda given: fit_isoflop(given, level=LEVEL))
    engine: Engine = "numpy" if len(rows) <= COMPILED_FROM else "auto"
    parametric = _fitted(runs, lambda given: fit_form(given, seed=seed, engine=engine))
    envelope = _fitted(runs, lambda given: fit_envelope(given, level=LEVEL))
    fits: dict[str, AnyFit | Failed] = {"isoflop": isoflop, "parametric": parametric, "envelope": envelope}
    asked: _Asked = {"isoflop": found(isoflop), "parametric": found(parametric)}
    disagreement = _disagreement(runs, fits)
    optima = {} if isinstance(runs, Failed) else compute_optima(fits, runs)
    return Summary(
        source=name,
        title=_title(rows, name),
        rows=rows,
        setting=setting,
        whole=whole,
        runs=runs,
        predictions=() if isinstance(source, (Runs, pd.DataFrame)) else _predictions(source),
        curves=curves,
        minima=_minima(isoflop, runs),
        isoflop=isoflop,
        parametric=parametric,
        envelope=envelope,
        backtest=_fitted(runs, lambda given: backtest(given, forms=BACKTESTED, level=LEVEL, seed=seed, engine=engine)),
        disagreement=disagreement,
        checks=() if isinstance(runs, Failed) else check_runs(runs, curves=curves, **asked),
        diagnostics=() if isinstance(runs, Failed) else diagnose(runs, curves=curves, found=disagreement, **asked),
        optima=optima,
        headline=runs if isinstance(runs, Failed) else choose_headline(fits, optima, runs),
        origin=Origin() if isinstance(source, (Runs, pd.DataFrame)) else _origin(source),
    )


def _read(source: Source | Runs) -> tuple[pd.DataFrame, str, Runs | Failed]:
    """All rows, the source's name, and the runs that can be fitted; a store is reported on whatever it holds."""
    if isinstance(source, Runs):
        return source.frame, source.source, source
    rows, name = load_frame(source)
    if not isinstance(source, pd.DataFrame) and is_store(source):
        return rows, name, attempt(lambda: read_runs(source))
    return rows, name, read_runs(source)


def _of_setting(whole: Runs | Failed, setting: str | None) -> Runs | Failed:
    """The runs of one setting, with one for each point that was tuned."""
    chosen = _only(whole, setting)
    return chosen if isinstance(chosen, Failed) else attempt(lambda: one_point_each(chosen))


def _only(whole: Runs | Failed, setting: str | None) -> Runs | Failed:
    return whole if isinstance(whole, Failed) or setting is None else whole.where(setting=setting)


def _has_documents(source: str | os.PathLike[str]) -> bool:
    """Whether sweep files and predictions may lie beside the runs: in a store, or in a folder that was kept of one."""
    return is_store(source) or Path(source).is_dir()


def _origin(source: str | os.PathLike[str]) -> Origin:
    return origin_of(source) if _has_documents(source) else Origin()


def _curves(source: str | os.PathLike[str]) -> pd.DataFrame | None:
    return read_curves(source) if has_curves(source) else None


def _predictions(source: str | os.PathLike[str]) -> tuple[tuple[str, dict[str, Any]], ...]:
    from analysis.ladder import read_predictions

    return tuple(read_predictions(source)) if _has_documents(source) else ()


def _title(rows: pd.DataFrame, name: str) -> str:
    sweeps = {str(sweep) for sweep in rows["sweep"].dropna()} if "sweep" in rows else set()
    return sweeps.pop() if len(sweeps) == 1 else Path(name).name


def _fitted(runs: Runs | Failed, fit: Callable[[Runs], Fit]) -> Fit | Failed:
    return runs if isinstance(runs, Failed) else attempt(lambda: fit(runs))


def _disagreement(runs: Runs | Failed, fits: Mapping[str, AnyFit | Failed]) -> tuple[FitWarning, ...]:
    """Approaches 2 and 3 held against each other; an envelope is off by the noise of its few lowest points anyway."""
    present = {name: fit for name, fit in fits.items() if name != "envelope" and not isinstance(fit, Failed)}
    if isinstance(runs, Failed) or len(present) < 2:
        return ()
    return tuple(compare_approaches(present, 10 * float(runs.column("flops").max())))


def _minima(isoflop: IsoflopFit | Failed, runs: Runs | Failed) -> tuple[CurveMinimum, ...]:
    """The fit's minima; where no law can be fitted, the curves that there are, so that they can be looked at."""
    if not isinstance(isoflop, Failed):
        return isoflop.minima
    return () if isinstance(runs, Failed) else found(attempt(lambda: provisional_minima(runs, level=LEVEL))) or ()


def _own_warnings(summary: Summary) -> Iterator[FitWarning]:
    """What no single fit can see."""
    for what, fit in (
        ("approach 2", summary.isoflop),
        ("approach 3", summary.parametric),
        ("approach 1", summary.envelope),
    ):
        if isinstance(fit, Failed) and not isinstance(summary.runs, Failed):
            yield FitWarning("no_result", f"{what} has no result: {fit.reason}", 4.0)
    if isinstance(summary.whole, Runs) and summary.minima and seeds_per_point(summary.whole).max() < 2:
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


def of_setting(summary: Summary) -> str:
    """Which setting the law is of, to follow it in a sentence; nothing for a sweep of one."""
    settings = [] if isinstance(summary.whole, Failed) else settings_of(summary.whole.frame)
    return f"; fitted to {summary.setting}, one of {len(settings)} settings" if len(settings) > 1 else ""


def seeds_per_point(runs: Runs) -> pd.Series:
    """How often each point was run, at one value of what is tuned over."""
    alike = [name for name in ("setting", "budget", "params", "tokens", "tuned") if name in runs.frame]
    return runs.frame.groupby(alike, dropna=False).size()


def _unfinished(rows: pd.DataFrame) -> int:
    return int((rows["status"] != "ok").sum()) if "status" in rows else 0
