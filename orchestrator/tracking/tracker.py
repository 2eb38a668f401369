"""The hook: what a tracker is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Tracker(Protocol):
    """Told of each run that has ended, one at a time, from one thread; whatever it raises switches it off."""

    def run_ended(self, row: Mapping[str, Any], curve: Mapping[str, Sequence[float]]) -> None:
        """A run was committed, or failed for good.

        Args:
            row: Its row of the results table; see docs/results.md.
            curve: Columns of `curves`, each a list; empty for a run without one.
        """

    def close(self) -> None:
        """Nothing more is to come."""
