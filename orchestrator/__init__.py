"""Sweeps on Ray: a sweep file in, committed runs in a store out.

from orchestrator import load_sweep, plan, run
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.observing import Result
    from orchestrator.planning import Plan
    from orchestrator.running import Options
    from orchestrator.sweep import Sweep


def load_sweep(source: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep file or preset; see `orchestrator.sweep.file.load_sweep`."""
    from orchestrator.version import refuse_shadowed_packages

    refuse_shadowed_packages()
    from orchestrator.sweep.file import load_sweep as load

    return load(source, overrides)


def plan(sweep: Sweep) -> Plan:
    """What would run, with the text's size estimated; see `orchestrator.planning.plan`."""
    from orchestrator import corpora, cost, planning

    return planning.plan(sweep, corpora.estimated(sweep.data), cost.first_guess(sweep))


def run(sweep: Sweep, store: str | Path, options: Options | None = None) -> Result:
    """Run a sweep, or continue it; see `orchestrator.running.run`."""
    from orchestrator.running import run as run_sweep

    return run_sweep(sweep, store, options)


__all__ = ["load_sweep", "plan", "run"]
