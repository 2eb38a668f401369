"""What comes in: signs of life of attempts under way, and how they ended; each end is judged, kept and followed up."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from orchestrator import failpoints
from orchestrator.driving.state import State
from orchestrator.errors import CapacityError, InfrastructureError, OrchestratorError
from orchestrator.execution.heartbeat import flops_of
from orchestrator.execution.task import Outcome, Task
from orchestrator.failures import SAME_ERROR_LIMIT, Verdict, bug_of, judge
from orchestrator.ledger import whole_seconds
from orchestrator.observing import Observer
from orchestrator.planning import Point
from orchestrator.store import Document

_log = logging.getLogger(__name__)


class Release(Protocol):
    """Queues another attempt at a run."""

    def __call__(self, point: Point, *, after: Verdict) -> None:
        """Queue one, with what the attempt before has taught."""


class Incoming:
    """Takes in what workers did.

    `stop` is called with a reason, and with an error where the sweep cannot go on at all.
    """

    def __init__(
        self,
        state: State,
        *,
        observer: Observer,
        release: Release,
        stop: Callable[[str, OrchestratorError | None], None],
    ) -> None:
        self._state = state
        self._observer = observer
        self._release = release
        self._stop = stop
        self._endings: dict[str, list[str]] = defaultdict(list)
        self._bugs: Counter[str] = Counter()

    def look(self) -> None:
        """Note attempts that have started, end those that are stuck, and take back those that nobody starts."""
        state = self._state
        seen = state.watch.look(state.inflight, state.launcher)
        for run_id in seen.started:
            state.ledger.started(run_id)
            self._note("started", run_id)
        for run_id in seen.stuck:
            self._note("stuck", run_id)
            state.launcher.kill(run_id, reason="made no step for too long and was killed")
        for run_id in seen.lost:
            state.launcher.kill(run_id, ending="lost", reason="its node went away")
        for run_id in seen.forgotten:
            self._note("not started", run_id)
            state.launcher.kill(run_id, ending="lost", reason="was not started although a machine had room for it")

    def handle(self, outcome: Outcome) -> None:
        """Judge how an attempt ended, and do what follows.

        Raises:
            InfrastructureError: Storage failed, or a commit is not where its worker put it.
        """
        failpoints.hit("outcome.before")
        state = self._state
        task = state.inflight.pop(outcome.run_id)
        outcome = self._completed(outcome, task)
        verdict = judge(outcome, task, self._endings[outcome.run_id])
        self._endings[outcome.run_id].append(outcome.ending)
        state.times.ended(outcome.seconds)
        state.events.add(
            "ended", run_id=task.run_id, attempt=task.attempt, ending=outcome.ending, reason=outcome.reason
        )
        for note in outcome.notes:
            _log.warning("%s", note)
            state.events.add("note", run_id=task.run_id, text=note)
        if verdict.action == "done":
            self._committed(task)
        elif self._committed_after_all(task):
            state.events.add("committed before it died", run_id=task.run_id)
        else:
            self._not_committed(task, outcome, verdict)

    def _note(self, event: str, run_id: str) -> None:
        self._state.events.add(event, run_id=run_id, attempt=self._state.inflight[run_id].attempt)

    def _completed(self, outcome: Outcome, task: Task) -> Outcome:
        """An outcome with what a dead worker left in the store: its last words, or how far it was."""
        store = self._state.store
        self._state.watch.forget(task.run_id)
        if outcome.ending not in ("killed", "lost"):
            return outcome
        progress = store.progress(task.run_id)
        store.forget_progress(task.run_id)
        if progress is None or progress["attempt"] != task.attempt:
            return outcome
        if "outcome" in progress:
            return Outcome(**{**progress["outcome"], "notes": tuple(progress["outcome"]["notes"])})
        return replace(outcome, seconds=progress["seconds"], flops_spent=flops_of(progress, task.row))

    def _committed_after_all(self, task: Task) -> bool:
        """Whether a worker that was lost had committed before."""
        if self._state.store.commit(task.run_id) is None:
            return False
        self._committed(task)
        return True

    def _committed(self, task: Task) -> None:
        state = self._state
        commit = state.store.commit(task.run_id)
        if commit is None:
            raise InfrastructureError(
                f"run {task.run_id} was committed by its worker but is not in {state.store.location}; expected a "
                "place that every node shares. Check the mount, then repeat the command."
            )
        state.ledger.committed(commit)
        state.tables.add_curve(commit)
        row, point = commit["row"], state.points[task.run_id]
        state.waiting.settled(task)
        state.proposer.tell(task.run_id, row["loss"])
        state.forecast.ended(point)
        if row["status"] == "ok":
            state.times.finished(point.spec, whole_seconds(row))
        self._endings.pop(task.run_id, None)
        result = f"loss {row['loss']:.3f}" if row["loss"] is not None else f"diverged: {row['reason']}"
        state.last = f"{row['budget']:.3g} x {row['params']:,}  {result}  {row['seconds']:.1f} s"
        self._observer.finished(row)

    def _not_committed(self, task: Task, outcome: Outcome, verdict: Verdict) -> None:
        """Keep word of an attempt that ended without a result, and do what follows."""
        if verdict.action == "broken":
            raise InfrastructureError(outcome.reason or "storage failed")
        state = self._state
        if verdict.status is not None:
            document = _attempt_document(outcome, verdict)
            state.store.add_attempt(task.run_id, task.attempt, document)
            state.ledger.failed(task.run_id, document)
        if verdict.action != "leave":
            state.retries[outcome.ending] += 1
        if verdict.action == "refuse":
            self._stop(
                "a worker cannot serve this sweep", CapacityError(outcome.reason or "a worker refused the store")
            )
        elif verdict.action == "again":
            self._release(state.points[task.run_id], after=verdict)
        elif verdict.action == "give-up":
            self._gave_up(task, outcome, verdict)

    def _gave_up(self, task: Task, outcome: Outcome, verdict: Verdict) -> None:
        """A run has failed for good."""
        state = self._state
        state.last = f"{task.row['budget']:.3g} x {task.row['params']:,}  {verdict.status}: {outcome.reason}"
        state.waiting.settled(task)
        state.proposer.fail(task.run_id, str(verdict.status))
        state.forecast.ended(state.points[task.run_id])
        self._observer.finished(task.row | {"status": verdict.status, "reason": outcome.reason})
        self._count_bug(outcome)

    def _count_bug(self, outcome: Outcome) -> None:
        """Pause the sweep when the same traceback ends several runs: it is a bug, and the rest would only repeat it."""
        bug = bug_of(outcome)
        if bug is None:
            return
        self._bugs[bug] += 1
        if self._bugs[bug] == SAME_ERROR_LIMIT and self._state.stopping is None:
            self._stop(f"{SAME_ERROR_LIMIT} runs failed with the same error: {outcome.reason}", None)


def _attempt_document(outcome: Outcome, verdict: Verdict) -> Document:
    return {
        "status": verdict.status,
        "reason": outcome.reason,
        "traceback": outcome.traceback,
        "seconds": outcome.seconds,
        "flops_spent": outcome.flops_spent,
        "final": verdict.action == "give-up",
    }
