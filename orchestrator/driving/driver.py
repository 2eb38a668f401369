"""The driver's loop: requests, dispatch, outcomes, tables, until nothing is left or somebody asks to stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator import failpoints
from orchestrator.cost import CostModel
from orchestrator.driving.incoming import Incoming
from orchestrator.driving.opening import opened
from orchestrator.driving.outgoing import Outgoing, Terms
from orchestrator.driving.showing import Showing
from orchestrator.driving.state import State
from orchestrator.errors import InfrastructureError, OrchestratorError
from orchestrator.execution import trunks
from orchestrator.execution.launcher import Launcher
from orchestrator.observing import Observer, Result
from orchestrator.planning import Plan
from orchestrator.store import Store
from orchestrator.store.contents import Contents
from orchestrator.store.events import EventLog, open_events
from orchestrator.store.lease import Lease
from orchestrator.version import code_version
from orchestrator.watching import Watch

WAIT_SECONDS = 0.5
"""Longest wait for an outcome before requests, the lease and the tables are looked at again."""

CHECKPOINT_SECONDS = 30.0
"""Wall time between checkpoints: the most work that a fault can cost."""


@dataclass
class Driver:
    """Drives one plan over one store; made by `orchestrator.running.run`, which holds the lease.

    Attributes:
        plan: What is to be run.
        store: Where.
        lease: The right to drive it.
        launcher: Executes attempts.
        observer: Watches.
        guess: How long runs take, before any has.
        grows: Whether tasks that wait make the cluster grow.
        gpu_memory: Bytes of one GPU, where runs share one.
        asked_to_stop: Gives the reason, once somebody has asked.
        watch: Sees how attempts go; None for the usual.
        checkpoint_seconds: Wall time between checkpoints.
        contents: What is true of the store, where that was read under this lease.
    """

    plan: Plan
    store: Store
    lease: Lease
    launcher: Launcher
    observer: Observer
    guess: CostModel
    grows: bool = False
    gpu_memory: float | None = None
    asked_to_stop: Callable[[], str | None] = lambda: None
    watch: Watch | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    contents: Contents | None = None
    _interrupted: bool = False
    _failure: OrchestratorError | None = None
    _next_look: float = 0.0

    def run(self) -> Result:
        """Dispatch until nothing is left or somebody asks to stop.

        Raises:
            OrchestratorError: A worker cannot serve this store, or storage failed; what was committed is safe.
        """
        events: EventLog | None = None
        try:
            events = open_events(self.store.objects, self.lease.number)
            self._begin(events)
            self._loop()
            self._end()
        except OrchestratorError:
            with contextlib.suppress(InfrastructureError):  # best effort: storage may be what failed
                self.store.request(self._stop_request)
            raise
        finally:
            if events is not None:
                with contextlib.suppress(InfrastructureError):
                    events.close()
        if self._failure:
            raise self._failure
        state = self._state
        chosen = self.plan.limits is not None and state.stopping is None
        return Result(
            counts=state.ledger.counts(state.points),
            stopped=state.stopping,
            interrupted=self._interrupted,
            enough=state.proposer.ending if chosen else None,
        )

    # --- start and end

    def _begin(self, events: EventLog) -> None:
        contents, self.contents = self.contents, None  # it is large, and not looked at again
        self._state = state = opened(
            self.plan,
            self.store,
            contents=contents,
            launcher=self.launcher,
            watch=self.watch,
            events=events,
            guess=self.guess,
            stop_request=self._stop_request,
        )
        self._outgoing = Outgoing(state, self._terms())
        self._showing = Showing(state, self.observer)
        self._incoming = Incoming(state, observer=self.observer, release=self._outgoing.release, stop=self._stop)
        self._release_open_runs(state)
        if not state.ledger.committed_count:  # one that is there is right, and written after the first dispatch
            state.tables.write(state.ledger.table())
        self._showing.now()
        failpoints.hit("driver.begun")

    def _release_open_runs(self, state: State) -> None:
        """What was proposed before goes first."""
        open_runs = state.ledger.open_runs()
        state.events.add("driver started", lease=self.lease.number, points=len(state.points), open=len(open_runs))
        for run_id in open_runs:
            if run_id in state.points and not state.ledger.gave_up(run_id):
                self._outgoing.release(state.points[run_id])

    def _terms(self) -> Terms:
        return Terms(
            nonce=self.store.header()["nonce"],
            version=code_version(),
            lease=self.lease.number,
            checkpoint_seconds=self.checkpoint_seconds,
            gpu_memory=self.gpu_memory,
            grows=self.grows,
        )

    def _end(self) -> None:
        self._write_tables()
        if not self._interrupted:  # who goes on may branch off any of them
            trunks.prune(self.store)
        self._state.events.add("driver ended", stopped=self._state.stopping)
        self.store.sweep_out()
        failpoints.hit("driver.ended")

    # --- the loop

    def _loop(self) -> None:
        state = self._state
        while True:
            self._notice_requests()
            if state.stopping is None and (too_much := self._outgoing.dispatch()):
                self._finish_early(too_much)
            if not state.inflight:
                return
            if state.tables.due():
                state.times.refit()
                self._write_tables()
            for outcome in self.launcher.wait(WAIT_SECONDS):
                self._incoming.handle(outcome)
            self._incoming.look()
            self._showing.when_due()

    def _write_tables(self) -> None:
        failpoints.hit("tables.before")
        self._state.tables.write(self._state.ledger.table())

    # --- what ends it

    def _notice_requests(self) -> None:
        if self._state.stopping is not None:
            return
        limits = self.plan.sweep.stop
        hours = (time.monotonic() - self._state.started_at) / 3600
        if reason := self.asked_to_stop():
            self._stop(reason)
        elif self.lease.lost:
            message = f"{self.lease.lost}; expected to be the only driver. This one stops."
            self._stop(self.lease.lost, InfrastructureError(message))
        elif self._cancelled():
            self.store.withdraw(["cancel"])
            self._stop("cancelled")
        elif limits.max_hours is not None and hours > limits.max_hours:
            self._finish_early(f"stop.max_hours {limits.max_hours:g} is reached")

    def _cancelled(self) -> bool:
        """Whether a request to cancel is there; looked for about twice a second, for a bucket answers slowly."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + WAIT_SECONDS
        return self.store.requested("cancel")

    def _stop(self, reason: str, failure: OrchestratorError | None = None) -> None:
        """Stop soon: every attempt writes a checkpoint and ends. A failure is raised when they have."""
        self._failure = failure or self._failure
        self._state.stopping = reason
        self._interrupted = True
        self.store.request(self._stop_request)
        self._state.events.add("stopping", reason=reason)
        self._showing.now()

    def _finish_early(self, reason: str) -> None:
        """Start nothing more; what is in flight is finished."""
        self._state.stopping = reason
        self._state.events.add("finishing", reason=reason)

    @property
    def _stop_request(self) -> str:
        return f"stop-{self.lease.number}"
