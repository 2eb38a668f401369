"""Scaling-law analysis: a table of runs in; fits, intervals, plots and allocations out. Needs no torch, Ray or Optuna.

Names load at first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Huber": "analysis.fitting.objective",
    "LeastAbsolute": "analysis.fitting.objective",
    "Squares": "analysis.fitting.objective",
    "allocate": "analysis.laws.allocation",
    "certify": "analysis.parametric",
    "fit_form": "analysis.parametric",
    "law": "analysis.laws.published",
}
"""Public name -> the module that defines it, sorted by name."""

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
