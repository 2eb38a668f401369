"""What a driver knows while it drives; what goes out, what comes in and what is shown all work on this."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from orchestrator import cost
from orchestrator.cost import CostModel
from orchestrator.execution.launcher import Launcher
from orchestrator.execution.task import Task
from orchestrator.forecast import Forecast
from orchestrator.ledger import Ledger
from orchestrator.planning import Plan, Point
from orchestrator.proposing import Proposer
from orchestrator.store import Store
from orchestrator.store.events import EventLog
from orchestrator.store.tables import Tables
from orchestrator.waiting import Waiting
from orchestrator.watching import Watch
from trainer import RunSpec

TIMED_RUNS = 200
"""Newest finished runs that the cost model is fitted to (chosen)."""

PACE_WEIGHT = 0.1
"""Weight of the newest attempt in the mean of their wall times (chosen)."""


@dataclass
class Times:
    """How long runs take: the newest ones, and what they say of others.

    Attributes:
        guess: Constants before any run.
        runs: Newest finished runs and their seconds.
        model: Fitted to them at the last `refit`.
        pace: Mean wall time of attempts that ended lately, in seconds; None before the first.
    """

    guess: CostModel
    runs: list[tuple[RunSpec, float]]
    model: CostModel
    pace: float | None = None

    def finished(self, spec: RunSpec, seconds: float) -> None:
        """Note a run that ended well, and what it would have taken as a whole."""
        self.runs = [*self.runs[1 - TIMED_RUNS :], (spec, seconds)]

    def ended(self, seconds: float) -> None:
        """Note the wall time of an attempt, however it ended."""
        self.pace = seconds if self.pace is None else (1 - PACE_WEIGHT) * self.pace + PACE_WEIGHT * seconds

    def refit(self) -> None:
        """Let the model follow the newest runs."""
        self.model = cost.fitted(self.runs, self.guess)


@dataclass(kw_only=True)
class State:
    """A sweep under one driver.

    Attributes:
        plan: What is to be run, or may be.
        points: Its points by run.
        store: Where everything that is true is kept.
        launcher: Executes attempts.
        watch: Sees which attempts have started, and which make no step.
        events: The log.
        ledger: What is known of every run.
        tables: The Parquet tables.
        proposer: Hands out points.
        forecast: Work that is left.
        times: How long runs take.
        stop_request: Name of the request that ends every attempt of this driver.
        started_at: When the driver began, by the monotonic clock.
        waiting: Tasks that may start.
        inflight: Tasks that were handed to the launcher, by run.
        retries: Attempts that ended without a result, by how.
        last: The last event, in words.
        stopping: Why nothing more is started; None while the sweep goes on.
    """

    plan: Plan
    points: dict[str, Point]
    store: Store
    launcher: Launcher
    watch: Watch
    events: EventLog
    ledger: Ledger
    tables: Tables
    proposer: Proposer
    forecast: Forecast
    times: Times
    stop_request: str
    started_at: float
    waiting: Waiting = field(default_factory=Waiting)
    inflight: dict[str, Task] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    last: str = ""
    stopping: str | None = None
