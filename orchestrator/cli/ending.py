"""What `run` shows at its end: the fits, what weakens them, where the report is, and what to try next."""

from __future__ import annotations

from collections import Counter

from orchestrator.driver import Result
from orchestrator.status import failed_count


def show(store: str, result: Result, repeat: str) -> int:
    """Print the end of a run.

    Returns:
        Exit code: 0 done or stopped on request, 2 finished but some runs failed.
    """
    counts = result.counts
    print(_counted(counts))
    if result.stopped is not None:
        print(f"stopped: {result.stopped}. Resume with: {repeat}")
    return 2 if failed_count(counts) else 0


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
