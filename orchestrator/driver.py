"""The driver: plan minus committed, dispatched until nothing is left. Only it touches Optuna and Parquet."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator import abandoned, cost, failpoints
from orchestrator.budget import Budget, Spending
from orchestrator.errors import CapacityError, InfrastructureError, OrchestratorError
from orchestrator.execution import checkpoints, trunks
from orchestrator.execution.heartbeat import flops_of
from orchestrator.execution.launcher import Launcher
from orchestrator.execution.task import Outcome, Task
from orchestrator.failures import SAME_ERROR_LIMIT, Verdict, bug_of, judge
from orchestrator.forecast import Forecast, informed, read_progress, shares_done
from orchestrator.ledger import Ledger, whole_seconds
from orchestrator.observing import Observer, Result, Snapshot
from orchestrator.planning import Plan, Point, point_row, trunk_of
from orchestrator.proposing import Proposer
from orchestrator.sharing import share_of
from orchestrator.store import Document, ObjectExists, Store
from orchestrator.store.contents import Contents, read_contents
from orchestrator.store.events import EventLog, open_events
from orchestrator.store.lease import Lease
from orchestrator.store.tables import Tables
from orchestrator.version import code_version
from orchestrator.waiting import Waiting
from orchestrator.watching import Watch
from trainer import RunSpec, to_dict

log = logging.getLogger(__name__)

RELEASED = 64
"""Points asked for ahead of dispatch, so that the longest of them can start first (chosen)."""

QUEUED_AHEAD = 2
"""Tasks handed to the launcher beyond its slots, so that a worker never waits for the driver (chosen)."""

QUEUED_SECONDS = 0.1
MOST_QUEUED = 64
"""Where attempts are so short that two of them do not last so long, more are handed over; at most this many (chosen)."""

DEMAND_AHEAD = 256
"""On a cluster that can grow, tasks beyond its slots ask the autoscaler for nodes; at most this many (chosen)."""

WAIT_SECONDS = 0.5
"""Longest wait for an outcome before requests, the lease and the tables are looked at again."""

TIMED_RUNS = 200
"""Newest finished runs that the cost model is fitted to (chosen)."""

CHECKPOINT_SECONDS = 30.0
"""Wall time between checkpoints: the most work that a fault can cost."""

SHOW_SHARE = 0.05
"""Share of the driver's time that whoever watches may take (chosen)."""


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
    gpu_memory: float | None = None
    asked_to_stop: Callable[[], str | None] = lambda: None
    watch: Watch | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    contents: Contents | None = None
    _inflight: dict[str, Task] = field(default_factory=dict)
    _waiting: Waiting = field(default_factory=Waiting)
    _endings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _bugs: Counter[str] = field(default_factory=Counter)
    _retries: Counter[str] = field(default_factory=Counter)
    _timed: list[tuple[RunSpec, float]] = field(default_factory=list)
    _stopping: str | None = None
    _interrupted: bool = False
    _failure: OrchestratorError | None = None
    _pace: float | None = None
    _last: str = ""
    _next_show: float = 0.0
    _next_look: float = 0.0

    def run(self) -> Result:
        """Dispatch until nothing is left or somebody asks to stop.

        Raises:
            OrchestratorError: A worker cannot serve this store, or storage failed; what was committed is safe.
        """
        try:
            self._begin()
            self._loop()
            self._end()
        except OrchestratorError:
            with contextlib.suppress(InfrastructureError):  # best effort: storage may be what failed
                self.store.request(self._stop_request)
            raise
        finally:
            with contextlib.suppress(InfrastructureError, AttributeError):
                self.events.close()
        if self._failure:
            raise self._failure
        chosen = self.plan.limits is not None and self._stopping is None
        return Result(
            counts=self.ledger.counts(self.points),
            stopped=self._stopping,
            interrupted=self._interrupted,
            enough=self.proposer.ending if chosen else None,
        )

    # --- start and end

    def _begin(self) -> None:
        self.started_at = time.monotonic()
        self.points = {point.run_id: point for point in self.plan.points}
        self.events: EventLog = open_events(self.store.objects, self.lease.number)
        self.ledger = self._read_store()
        self._header = self.store.header()
        self._version = code_version()
        self.watch = self.watch or Watch(self.store)
        self.cost = cost.fitted(self._timed, self.guess)
        losses = self.ledger.losses()
        open_runs = self.ledger.open_runs()
        gave_up = {run_id for run_id in open_runs if self.ledger.gave_up(run_id)}
        self.proposer = Proposer(
            self.plan,
            losses=losses,
            proposed=open_runs,
            order=None if self.plan.limits is None else self.ledger.order(),
            failed=gave_up,
        )
        self._forecast = Forecast(self.plan, ended={*losses, *gave_up}, proposed=[*losses, *open_runs])
        self._budget = Budget(self.plan.sweep)
        self.events.add("driver started", lease=self.lease.number, points=len(self.points), open=len(open_runs))
        for run_id in open_runs:
            if run_id in self.points and run_id not in gave_up:
                self._release(self.points[run_id])
        if (
            not self.ledger.committed_count
        ):  # a table that is there is right, and written again after the first dispatch
            self.tables.write(self.ledger.table())
        self.observer.update(self._snapshot())
        failpoints.hit("driver.begun")

    def _read_store(self) -> Ledger:
        """What is true, with what a dead driver left behind removed, and what cannot be read set aside."""
        contents, self.contents = self.contents or read_contents(self.store), None
        abandoned.charge(self.store, contents)
        self.store.sweep_out()
        for key in contents.unreadable:
            moved = self.store.set_aside(key)
            log.warning("%s cannot be read; its run is made again. It was moved to %s", key, moved)
            self.events.add("set aside", key=key, moved=moved)
        self.tables = Tables(self.store.objects)
        for commit in contents.commits.values():
            self.tables.add_curve(commit)
        for run_id in filter(self.tables.lacks_curve, contents.settled["run_id"].to_pylist()):
            if commit_again := self.store.commit(run_id):
                self.tables.add_curve(commit_again)
        ledger = Ledger(contents)
        for run_id in self.store.objects.names("checkpoints"):
            if ledger.is_committed(run_id):
                checkpoints.remove(run_id, self.store)
        timed = ledger.seconds_of_latest(TIMED_RUNS)
        self._timed = [(self.points[run_id].spec, taken) for run_id, taken in timed if run_id in self.points]
        return ledger

    def _end(self) -> None:
        self._write_tables()
        if not self._interrupted:  # who goes on may branch off any of them
            trunks.prune(self.store)
        self.events.add("driver ended", stopped=self._stopping)
        self.store.sweep_out()
        failpoints.hit("driver.ended")

    # --- the loop

    def _loop(self) -> None:
        while True:
            self._notice_requests()
            if self._stopping is None:
                self._dispatch()
            if not self._inflight:
                return
            if self.tables.due():  # the first dispatch does not wait for it
                self.cost = cost.fitted(self._timed, self.guess)
                self._write_tables()
            for outcome in self.launcher.wait(WAIT_SECONDS):
                self._handle(outcome)
            self._watch_attempts()
            self._show()

    def _write_tables(self) -> None:
        failpoints.hit("tables.before")
        self.tables.write(self.ledger.table())

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

    def _unaffordable(self, run_id: str) -> str | None:
        """Why a run does not fit into what may still be spent, with all that is under way; None where it does."""
        if not self._budget.limited:
            return None
        spent = Spending(flops=self.ledger.flops_spent, seconds=self.ledger.seconds_spent)
        return self._budget.refusal(spent, map(self._reserved, self._inflight), self._reserved(run_id))

    def _reserved(self, run_id: str) -> Spending:
        point = self.points[run_id]
        return Spending(flops=point.share * point.flops, seconds=point.share * self.cost.seconds(point.spec))

    @property
    def _stop_request(self) -> str:
        return f"stop-{self.lease.number}"

    # --- out: proposals and tasks

    def _dispatch(self) -> None:
        """Fill the launcher, the longest released runs first; those that the budget refuses wait for a refund."""
        reason: str | None = None

        def affordable(task: Task) -> bool:
            nonlocal reason
            too_much = self._unaffordable(task.run_id)
            reason = too_much or reason
            return too_much is None

        slots = self.launcher.slots()
        planned = self.plan.sweep.sampler == "grid"
        ahead = self._ahead(slots)
        while len(self._inflight) < slots + ahead:
            if planned and not reason and self._waiting.low(RELEASED):
                self._propose(self._ask(RELEASED - len(self._waiting)))
            elif not planned and not reason:  # what is asked for later knows more results
                self._propose(self._ask(slots - len(self._inflight) - len(self._waiting)))
            task = self._waiting.pop(affordable)
            if task is None:
                break
            self._start(task)
        if reason and not self._inflight:
            self._finish_early(reason)

    def _ahead(self, slots: int) -> int:
        """Tasks to hand over beyond the slots."""
        if self.grows:
            return min(max(slots, 16), DEMAND_AHEAD)
        if self._pace is None or self._budget.limited:  # what is handed over is reserved
            return QUEUED_AHEAD
        lasting = slots * QUEUED_SECONDS / max(self._pace, 1e-3)
        return max(QUEUED_AHEAD, min(round(lasting), MOST_QUEUED))

    def _ask(self, count: int) -> list[Point]:
        points: list[Point] = []
        while len(points) < count and (point := self.proposer.ask()) is not None:
            points.append(point)
        return points

    def _propose(self, points: Sequence[Point]) -> None:
        """Keep new points in the store, then release them."""
        if not points:
            return
        failpoints.hit("propose.before")
        documents: dict[int, Document] = {
            seq: {
                "run_id": point.run_id,
                "row": point_row(self.plan.sweep, point, self.plan.corpus),
                "spec": to_dict(point.spec),
                "by": self.plan.sweep.sampler,
                "based_on": self.proposer.record(point.run_id),
            }
            for seq, point in enumerate(points, self.ledger.next_seq)
        }
        try:
            self.store.add_proposals(documents)
        except ObjectExists as taken:
            raise InfrastructureError(
                f"{self.store.location}/{taken} was written by another driver; expected to be the only one. "
                "This one stops; isoflop status names the other."
            ) from None
        for (seq, document), point in zip(documents.items(), points, strict=True):
            self.ledger.proposed(seq, document)
            self._forecast.proposed(point)
            self._release(point, spec=document["spec"])
        failpoints.hit("propose.after")

    def _release(self, point: Point, *, spec: Document | None = None, after: Verdict | None = None) -> None:
        """Queue an attempt; `spec` is the point's as a document, `after` says what the attempt before taught."""
        resources = self.plan.sweep.resources
        share = share_of(point.spec, resources, self.gpu_memory)
        row = self.ledger.proposed_row(point.run_id)
        task = Task(
            run_id=point.run_id,
            attempt=len(self.ledger.attempts(point.run_id)),
            spec=spec or to_dict(point.spec),
            row=row,
            store=self.store.location,
            nonce=self._header["nonce"],
            version=self._version,
            corpus=self.plan.corpus.hash,
            threads=max(1, int(resources.cpus)),
            gpus=share.gpus if after is None or after.gpus is None else after.gpus,
            checkpoint_seconds=self.checkpoint_seconds,
            micro_batch=after.micro_batch if after else share.micro_batch,
            stop_request=self._stop_request,
            lease=self.lease.number,
            memory=after.memory if after else None,
            trunk=trunk_of(self.plan.sweep, point.spec),
        )
        self._waiting.add(task, seconds=self.cost.seconds(point.spec), seq=row["seq"])

    def _start(self, task: Task) -> None:
        failpoints.hit("dispatch.before")
        self.launcher.submit(task)
        self._inflight[task.run_id] = task
        self.events.add("dispatched", run_id=task.run_id, attempt=task.attempt)
        failpoints.hit("dispatch.after")

    def _watch_attempts(self) -> None:
        """Note attempts that have started, end those that are stuck, and take back those that nobody starts."""
        assert self.watch is not None
        seen = self.watch.look(self._inflight, self.launcher)
        for run_id in seen.started:
            self.ledger.started(run_id)
            self.events.add("started", run_id=run_id, attempt=self._inflight[run_id].attempt)
        for run_id in seen.stuck:
            self.events.add("stuck", run_id=run_id, attempt=self._inflight[run_id].attempt)
            self.launcher.kill(run_id, reason="made no step for too long and was killed")
        for run_id in seen.lost:
            self.launcher.kill(run_id, ending="lost", reason="its node went away")
        for run_id in seen.forgotten:
            self.events.add("not started", run_id=run_id, attempt=self._inflight[run_id].attempt)
            self.launcher.kill(run_id, ending="lost", reason="was not started although a machine had room for it")

    # --- in: outcomes

    def _handle(self, outcome: Outcome) -> None:
        failpoints.hit("outcome.before")
        task = self._inflight.pop(outcome.run_id)
        outcome = self._completed(outcome, task)
        verdict = judge(outcome, task, self._endings[outcome.run_id])
        self._endings[outcome.run_id].append(outcome.ending)
        self._pace = outcome.seconds if self._pace is None else 0.9 * self._pace + 0.1 * outcome.seconds
        self.events.add("ended", run_id=task.run_id, attempt=task.attempt, ending=outcome.ending, reason=outcome.reason)
        for note in outcome.notes:
            log.warning("%s", note)
            self.events.add("note", run_id=task.run_id, text=note)
        if verdict.action == "done":
            self._committed(task)
        elif self._committed_after_all(task):
            self.events.add("committed before it died", run_id=task.run_id)
        else:
            self._not_committed(task, outcome, verdict)

    def _completed(self, outcome: Outcome, task: Task) -> Outcome:
        """An outcome with what a dead worker left in the store: its last words, or how far it was."""
        assert self.watch is not None
        self.watch.forget(task.run_id)
        if outcome.ending not in ("killed", "lost"):
            return outcome
        progress = self.store.progress(task.run_id)
        self.store.forget_progress(task.run_id)
        if progress is None or progress["attempt"] != task.attempt:
            return outcome
        if "outcome" in progress:
            return Outcome(**{**progress["outcome"], "notes": tuple(progress["outcome"]["notes"])})
        return replace(outcome, seconds=progress["seconds"], flops_spent=flops_of(progress, task.row))

    def _committed_after_all(self, task: Task) -> bool:
        """Whether a worker that was lost had committed before."""
        if self.store.commit(task.run_id) is None:
            return False
        self._committed(task)
        return True

    def _committed(self, task: Task) -> None:
        commit = self.store.commit(task.run_id)
        if commit is None:
            raise InfrastructureError(
                f"run {task.run_id} was committed by its worker but is not in {self.store.location}; expected a "
                "place that every node shares. Check the mount, then repeat the command."
            )
        self.ledger.committed(commit)
        self.tables.add_curve(commit)
        row, point = commit["row"], self.points[task.run_id]
        self._waiting.settled(task)
        self.proposer.tell(task.run_id, row["loss"])
        self._forecast.ended(point)
        if row["status"] == "ok":
            self._timed = [*self._timed[1 - TIMED_RUNS :], (point.spec, whole_seconds(row))]
        self._endings.pop(task.run_id, None)
        result = f"loss {row['loss']:.3f}" if row["loss"] is not None else f"diverged: {row['reason']}"
        self._last = f"{row['budget']:.3g} x {row['params']:,}  {result}  {row['seconds']:.1f} s"
        self.observer.finished(row)

    def _not_committed(self, task: Task, outcome: Outcome, verdict: Verdict) -> None:
        """Keep word of an attempt that ended without a result, and do what follows."""
        if verdict.action == "broken":
            raise InfrastructureError(outcome.reason or "storage failed")
        final = verdict.action == "give-up"
        if verdict.status is not None:
            document = _attempt_document(outcome, verdict)
            self.store.add_attempt(task.run_id, task.attempt, document)
            self.ledger.failed(task.run_id, document)
        if verdict.action != "leave":
            self._retries[outcome.ending] += 1
        if verdict.action == "refuse":
            self._failure = CapacityError(outcome.reason or "a worker refused the store")
            self._stop("a worker cannot serve this sweep")
        elif verdict.action == "again":
            self._release(self.points[task.run_id], after=verdict)
        elif final:
            self._last = f"{task.row['budget']:.3g} x {task.row['params']:,}  {verdict.status}: {outcome.reason}"
            self._waiting.settled(task)
            self.proposer.fail(task.run_id, str(verdict.status))
            self._forecast.ended(self.points[task.run_id])
            self.observer.finished(task.row | {"status": verdict.status, "reason": outcome.reason})
            self._count_bug(outcome)

    def _count_bug(self, outcome: Outcome) -> None:
        """Pause the sweep when the same traceback ends several runs: it is a bug, and the rest would only repeat it."""
        bug = bug_of(outcome)
        if bug is None:
            return
        self._bugs[bug] += 1
        if self._bugs[bug] == SAME_ERROR_LIMIT and self._stopping is None:
            self._stop(f"{SAME_ERROR_LIMIT} runs failed with the same error: {outcome.reason}")

    # --- for whoever watches

    def _show(self) -> None:
        """Tell the observer, in at most a small share of the driver's time."""
        start = time.monotonic()
        if start >= self._next_show:
            self.observer.update(self._snapshot())
            self._next_show = start + max(WAIT_SECONDS, (time.monotonic() - start) / SHOW_SHARE)

    def _snapshot(self) -> Snapshot:
        assert self.watch is not None
        slots = self.launcher.slots()
        under_way = {run_id: self.points[run_id] for run_id in self.watch.under_way if run_id in self._inflight}
        progress = read_progress(self.store, under_way)
        longest = self._waiting.longest
        waiting = self.cost.seconds(self.points[longest.run_id].spec) if longest else 0.0
        return Snapshot(
            plan=self.plan,
            ledger=self.ledger,
            spent_flops=self.ledger.flops_spent,
            prediction=self._forecast.predict(
                informed(self._timed, self.guess, progress, under_way), shares_done(progress, under_way), waiting
            ),
            elapsed_seconds=time.monotonic() - self.started_at,
            slots=slots,
            last=self._last,
            stopping=self._stopping,
            retries=self._retries,
        )


def _attempt_document(outcome: Outcome, verdict: Verdict) -> Document:
    return {
        "status": verdict.status,
        "reason": outcome.reason,
        "traceback": outcome.traceback,
        "seconds": outcome.seconds,
        "flops_spent": outcome.flops_spent,
        "final": verdict.action == "give-up",
    }
