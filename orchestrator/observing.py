"""What a driver shows to whoever watches it, and how it ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.forecast import Prediction
from orchestrator.ledger import Ledger
from orchestrator.planning import Plan


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a sweep at one moment.

    Attributes:
        plan: What is to be run.
        ledger: What is known of every run.
        spent_flops: FLOPs paid so far.
        prediction: Of the work that is left.
        elapsed_seconds: Wall time of this driver.
        slots: Runs that fit at once.
        last: The last event, in words.
        stopping: Why the sweep is being stopped, None while it goes on.
        retries: Attempts that ended without a result, under this driver.
    """

    plan: Plan
    ledger: Ledger
    spent_flops: float
    prediction: Prediction
    elapsed_seconds: float
    slots: int
    last: str
    stopping: str | None
    retries: Counter[str]

    @property
    def remaining_seconds(self) -> float:
        """Predicted wall time to the end."""
        return self.prediction.wall_seconds(self.slots)


class Observer(Protocol):
    """Watches a sweep; it may be slow, but it must not fail."""

    def update(self, snapshot: Snapshot) -> None:
        """Something may have changed; called about twice a second, less often where it takes long."""

    def finished(self, row: dict[str, Any]) -> None:
        """A run was committed, or failed for good."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a driver ended.

    Attributes:
        counts: Runs of the plan by status.
        stopped: Why it ended early, None where nothing is left to do.
        interrupted: Whether somebody or something stopped it before the sweep's own rule would have.
        enough: Why a sampler proposed no more; None for a grid, and where somebody stopped it.
    """

    counts: Counter[str]
    stopped: str | None
    interrupted: bool
    enough: str | None = None
