"""The driver: plan minus committed, dispatched until nothing is left. Only it touches Optuna and Parquet."""

from __future__ import annotations

import heapq
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator import cost
from orchestrator.errors import CapacityError, InfrastructureError, OrchestratorError
from orchestrator.execution.launcher import Launcher
from orchestrator.execution.task import Outcome, Task
from orchestrator.failures import SAME_ERROR_LIMIT, Verdict, judge
from orchestrator.ledger import Ledger
from orchestrator.planning import Plan, Point, point_row
from orchestrator.proposing import Proposer
from orchestrator.store import Document, Store
from orchestrator.store.events import EventLog
from orchestrator.store.lease import Lease
from orchestrator.store.tables import Tables
from orchestrator.version import code_version
from trainer import RunSpec, from_dict, to_dict

log = logging.getLogger(__name__)

RELEASED = 64
"""Points asked for ahead of dispatch, so that the longest of them can start first (chosen)."""

QUEUED_AHEAD = 2
"""Tasks handed to the launcher beyond its slots, so that a worker never waits for the driver (chosen)."""

DEMAND_AHEAD = 256
"""On a cluster that can grow, tasks beyond its slots ask the autoscaler for nodes; at most this many (chosen)."""

WAIT_SECONDS = 0.5
"""Longest wait for an outcome before requests, the lease and the tables are looked at again."""

TIMED_RUNS = 200
"""Newest finished runs that the cost model is fitted to (chosen)."""

CHECKPOINT_SECONDS = 30.0
"""Wall time between checkpoints: the most work that a fault can cost."""


@dataclass
class Snapshot:
    """The state of a sweep, for whoever watches.

    Attributes:
        plan: What is to be run.
        ledger: What is known of every run.
        spent_flops: FLOPs paid so far.
        remaining_seconds: Predicted wall time to the end.
        elapsed_seconds: Wall time of this driver.
        slots: Runs that fit at once.
        last: The last event, in words.
        stopping: Why the sweep is being stopped, None while it goes on.
        retries: Attempts that ended without a result, under this driver.
    """

    plan: Plan
    ledger: Ledger
    spent_flops: float
    remaining_seconds: float
    elapsed_seconds: float
    slots: int
    last: str
    stopping: str | None
    retries: Counter[str]


class Observer(Protocol):
    """Watches a sweep; it may be slow, but it must not fail."""

    def update(self, snapshot: Snapshot) -> None:
        """Something may have changed; called about twice a second, less often for large sweeps."""

    def finished(self, row: dict[str, Any]) -> None:
        """A run was committed, or failed for good."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a driver ended.

    Attributes:
        counts: Runs of the plan by status.
        stopped: Why it ended early, None where nothing is left to do.
        interrupted: Whether somebody or something stopped it before the sweep's own rule would have.
    """

    counts: Counter[str]
    stopped: str | None
    interrupted: bool


@dataclass
class _InFlight:
    task: Task
    point: Point


@dataclass
class Driver:
    """Drives one plan over one store; made by `orchestrator.running.run`, which holds the lease."""

    plan: Plan
    store: Store
    lease: Lease
    launcher: Launcher
    observer: Observer
    guess: cost.CostModel
    grows: bool = False
    asked_to_stop: Callable[[], str | None] = lambda: None
    _inflight: dict[str, _InFlight] = field(default_factory=dict)
    _waiting: list[tuple[float, int, Task]] = field(default_factory=list)
    _endings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _bugs: Counter[str] = field(default_factory=Counter)
    _retries: Counter[str] = field(default_factory=Counter)
    _stopping: str | None = None
    _interrupted: bool = False
    _failure: OrchestratorError | None = None
    _last: str = ""
    _next_show: float = 0.0

    def run(self) -> Result:
        """Dispatch until nothing is left or somebody asks to stop.

        Raises:
            OrchestratorError: A worker cannot serve this store, or the disk failed; what was committed is safe.
        """
        self._begin()
        try:
            self._loop()
            self.tables.write(self.ledger.rows())
            self.events.add("driver ended", stopped=self._stopping)
        finally:
            self.events.close()
        if self._failure:
            raise self._failure
        return Result(counts=self._plan_counts(), stopped=self._stopping, interrupted=self._interrupted)

    # --- start

    def _begin(self) -> None:
        contents = self.store.contents()
        self.started_at = time.monotonic()
        self.ledger = Ledger(contents)
        self.events = EventLog(self.store.folder("events.jsonl"))
        self.tables = Tables(self.store.objects)
        self.points = {point.run_id: point for point in self.plan.points}
        for commit in contents.commits.values():
            self.tables.add_curve(commit)
        self._header = self.store.header()
        self._version = code_version()
        self._timed = [_timing(commit) for commit in contents.commits.values() if commit["row"]["status"] == "ok"][
            -TIMED_RUNS:
        ]
        self.cost = cost.fitted(self._timed, self.guess)
        self.proposer = Proposer(
            self.plan,
            losses={run_id: commit["row"]["loss"] for run_id, commit in self.ledger.commits().items()},
            proposed=list(self.ledger.proposals()),
        )
        self.events.add(
            "driver started", lease=self.lease.number, points=len(self.points), proposals=len(contents.proposals)
        )
        for key in contents.unreadable:
            log.warning("%s cannot be read and was left out; move it away or restore it", key)
            self.events.add("unreadable", key=key)
        for run_id in self.ledger.proposals():
            wanted = run_id in self.points
            if wanted and self.ledger.commit(run_id) is None and not self.ledger.gave_up(run_id):
                self._release(self.points[run_id])
        self.tables.write(self.ledger.rows())

    # --- the loop

    def _loop(self) -> None:
        while True:
            self._notice_requests()
            if self._stopping is None:
                self._dispatch()
            if not self._inflight:
                return
            for outcome in self.launcher.wait(WAIT_SECONDS):
                self._handle(outcome)
            if self.tables.due():
                self.cost = cost.fitted(self._timed, self.guess)
                self.tables.write(self.ledger.rows())
            self._show()

    def _notice_requests(self) -> None:
        if self._stopping is not None:
            return
        limits = self.plan.sweep.stop
        hours = (time.monotonic() - self.started_at) / 3600
        if reason := self.asked_to_stop():
            self._stop(reason)
        elif self.lease.lost:
            self._failure = InfrastructureError(f"{self.lease.lost}; expected to be the only driver. This one stops.")
            self._stop(self.lease.lost)
        elif self.store.requested("cancel"):
            self.store.withdraw(["cancel"])
            self._stop("cancelled")
        elif limits.max_hours is not None and hours > limits.max_hours:
            self._finish_early(f"stop.max_hours {limits.max_hours:g} is reached")
        elif limits.max_flops is not None and self._committed_flops() >= limits.max_flops:
            self._finish_early(f"stop.max_flops {limits.max_flops:g} is reached")

    def _stop(self, reason: str) -> None:
        """Stop soon: every attempt writes a checkpoint and ends."""
        self._stopping = reason
        self._interrupted = True
        self.store.request(self._stop_request)
        self.events.add("stopping", reason=reason)
        self.observer.update(self._snapshot())

    def _finish_early(self, reason: str) -> None:
        """Start nothing more; what is in flight is finished."""
        self._stopping = reason
        self.events.add("finishing", reason=reason)

    def _committed_flops(self) -> float:
        """FLOPs spent and reserved."""
        return self.ledger.flops_spent() + sum(entry.point.flops for entry in self._inflight.values())

    @property
    def _stop_request(self) -> str:
        return f"stop-{self.lease.number}"

    def _dispatch(self) -> None:
        """Fill the launcher, the longest released runs first."""
        slots = self.launcher.slots()
        ahead = min(max(slots, 16), DEMAND_AHEAD) if self.grows else QUEUED_AHEAD
        while len(self._inflight) < slots + ahead:
            while len(self._waiting) < RELEASED and (point := self.proposer.ask()) is not None:
                self._propose(point)
                self._release(point)
            if not self._waiting:
                return
            *_, task = heapq.heappop(self._waiting)
            self._start(task)

    def _propose(self, point: Point) -> None:
        row = point_row(self.plan.sweep, point, self.plan.corpus)
        document = {"run_id": point.run_id, "row": row, "spec": to_dict(point.spec), "by": self.plan.sweep.sampler}
        self.store.add_proposal(self.ledger.next_seq, document)
        self.ledger.proposed(self.ledger.next_seq, document)

    def _release(self, point: Point, *, micro_batch: int | None = None, memory: float | None = None) -> None:
        resources = self.plan.sweep.resources
        attempts = self.ledger.attempts(point.run_id)
        task = Task(
            run_id=point.run_id,
            attempt=len(attempts),
            spec=to_dict(point.spec),
            row=self.ledger.proposals()[point.run_id]["row"],
            store=self.store.location,
            nonce=self._header["nonce"],
            version=self._version,
            corpus=self.plan.corpus.hash,
            threads=max(1, int(resources.cpus)),
            gpus=resources.gpus,
            checkpoint_seconds=CHECKPOINT_SECONDS,
            micro_batch=micro_batch,
            stop_request=self._stop_request,
            memory=memory,
        )
        order = self.ledger.proposals()[point.run_id]["row"]["seq"]
        heapq.heappush(self._waiting, (-self.cost.seconds(point.spec), order, task))

    def _start(self, task: Task) -> None:
        self.launcher.submit(task)
        self._inflight[task.run_id] = _InFlight(task, self.points[task.run_id])
        self.ledger.started(task.run_id)
        self.events.add("started", run_id=task.run_id, attempt=task.attempt)

    # --- outcomes

    def _handle(self, outcome: Outcome) -> None:
        task = self._inflight.pop(outcome.run_id).task
        verdict = judge(outcome, task, self._endings[outcome.run_id])
        self._endings[outcome.run_id].append(outcome.ending)
        self.events.add("ended", run_id=task.run_id, attempt=task.attempt, ending=outcome.ending, reason=outcome.reason)
        for note in outcome.notes:
            log.warning("%s", note)
            self.events.add("note", run_id=task.run_id, text=note)
        if verdict.action == "done":
            self._committed(task)
        else:
            self._not_committed(task, outcome, verdict)

    def _committed(self, task: Task) -> None:
        commit = self.store.commit(task.run_id)
        if commit is None:
            raise InfrastructureError(
                f"run {task.run_id} was committed by its worker but is not in {self.store.location}; expected a "
                "place that every "
                "node shares. Check the mount, then repeat the command."
            )
        self.ledger.committed(commit)
        self.tables.add_curve(commit)
        self.proposer.tell(task.run_id, commit["row"]["loss"])
        row = commit["row"]
        if row["status"] == "ok":
            self._timed = [*self._timed[1 - TIMED_RUNS :], _timing(commit)]
        result = f"loss {row['loss']:.3f}" if row["loss"] is not None else f"diverged: {row['reason']}"
        self._last = f"{row['budget']:.3g} x {row['params']:,}  {result}  {row['seconds']:.1f} s"
        self.observer.finished(row)

    def _not_committed(self, task: Task, outcome: Outcome, verdict: Verdict) -> None:
        final = verdict.action == "give-up"
        document = {
            "status": verdict.status,
            "reason": outcome.reason,
            "traceback": outcome.traceback,
            "seconds": outcome.seconds,
            "flops_spent": outcome.flops_spent,
            "final": final,
        }
        self.store.add_attempt(task.run_id, task.attempt, document)
        self.ledger.failed(task.run_id, document)
        if verdict.action != "leave":
            self._retries[outcome.ending] += 1
        if verdict.action == "refuse":
            self._failure = CapacityError(outcome.reason or "a worker refused the store")
            self._stop("a worker cannot serve this sweep")
        elif verdict.action == "again" and self._stopping is None:
            self._release(self.points[task.run_id], micro_batch=verdict.micro_batch, memory=verdict.memory)
        elif final:
            self._last = f"{task.row['budget']:.3g} x {task.row['params']:,}  {verdict.status}: {outcome.reason}"
            self.observer.finished(task.row | {"status": verdict.status, "reason": outcome.reason})
            self._count_bug(outcome)

    def _count_bug(self, outcome: Outcome) -> None:
        """Pause the sweep when the same traceback ends several runs: it is a bug, and the rest would only repeat it."""
        if outcome.traceback is None:
            return
        self._bugs[outcome.traceback] += 1
        if self._bugs[outcome.traceback] == SAME_ERROR_LIMIT:
            self._stop(f"{SAME_ERROR_LIMIT} runs failed with the same error: {outcome.reason}")

    # --- for whoever watches

    def _plan_counts(self) -> Counter[str]:
        return Counter(row["status"] for row in self.ledger.rows() if row["run_id"] in self.points)

    def _show(self) -> None:
        """Tell the observer, in at most a twentieth of the driver's time."""
        start = time.monotonic()
        if start >= self._next_show:
            self.observer.update(self._snapshot())
            self._next_show = start + max(WAIT_SECONDS, 20 * (time.monotonic() - start))

    def _snapshot(self) -> Snapshot:
        left = [point for point in self.plan.points if self.ledger.commit(point.run_id) is None]
        slots = self.launcher.slots()
        longest = max((self.cost.seconds(point.spec) for point in left), default=0.0)
        shared = sum(self.cost.seconds(point.spec) for point in left) / slots
        return Snapshot(
            plan=self.plan,
            ledger=self.ledger,
            spent_flops=self.ledger.flops_spent(),
            remaining_seconds=max(shared, longest),
            elapsed_seconds=time.monotonic() - self.started_at,
            slots=slots,
            last=self._last,
            stopping=self._stopping,
            retries=self._retries,
        )


def _timing(commit: Document) -> tuple[RunSpec, float]:
    return from_dict(commit["spec"]), float(commit["row"]["seconds"])
