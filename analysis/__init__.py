"""Scaling-law analysis: a table of runs in; fits, intervals, plots and allocations out. Needs no torch, Ray or Optuna.

Names load at first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "AnalysisError": "analysis.errors",
    "ConventionError": "analysis.errors",
    "Dropped": "analysis.results",
    "FitError": "analysis.errors",
    "FitWarning": "analysis.results",
    "FormFit": "analysis.formfit",
    "Huber": "analysis.fitting.objective",
    "Interval": "analysis.results",
    "LawError": "analysis.errors",
    "LeastAbsolute": "analysis.fitting.objective",
    "Runs": "analysis.table",
    "SourceError": "analysis.errors",
    "Squares": "analysis.fitting.objective",
    "allocate": "analysis.laws.allocation",
    "backtest": "analysis.heldout",
    "certify": "analysis.parametric",
    "compare": "analysis.comparison",
    "critical_batch": "analysis.laws.batch",
    "describe_laws": "analysis.laws.catalogue",
    "diagnose": "analysis.diagnostics",
    "drop_highest": "analysis.fitting.selection",
    "fit_all": "analysis.combined",
    "fit_coverage": "analysis.laws.sampling",
    "fit_downstream": "analysis.laws.downstream",
    "fit_envelope": "analysis.envelope",
    "fit_form": "analysis.parametric",
    "fit_isoflop": "analysis.isoflop",
    "fit_valley": "analysis.laws.valley",
    "law": "analysis.laws.published",
    "parabola_bias": "analysis.isoflop_bias",
    "pass_at_k": "analysis.laws.sampling",
    "plan_data": "analysis.laws.repetition",
    "read_curves": "analysis.sources",
    "read_runs": "analysis.reading",
    "recipe": "analysis.laws.recipes",
    "scaling_trend": "analysis.laws.downstream",
    "store_curves": "analysis.stores",
    "store_rows": "analysis.stores",
    "write_report": "analysis.report.writing",
}
"""Public name -> the module that defines it, sorted by name."""

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
