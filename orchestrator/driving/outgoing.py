"""What goes out: points are proposed and kept, their tasks queued, and as many handed over as workers can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator import failpoints
from orchestrator.budget import Budget, Spending
from orchestrator.driving.state import State
from orchestrator.errors import InfrastructureError
from orchestrator.execution.task import Task
from orchestrator.failures import Verdict
from orchestrator.planning import Point, point_row, trunk_of
from orchestrator.sharing import share_of
from orchestrator.store import Document, ObjectExists
from trainer import to_dict

RELEASED = 128
"""Points asked for ahead of dispatch, so that the longest of them can start first (chosen: with 64 a sweep of 98 runs took
1.19 of its least time on 16 slots, by `benchmarks/overhead.py`; with 128 it takes 1.00)."""

QUEUED_AHEAD = 2
"""Tasks handed to the launcher beyond its slots, so that a worker never waits for the driver (chosen)."""

QUEUED_SECONDS = 0.1
MOST_QUEUED = 64
"""Where attempts are so short that two of them do not last so long, more are handed over; at most this many (chosen)."""

DEMAND_AHEAD = 256
"""On a cluster that can grow, tasks beyond its slots ask the autoscaler for nodes; at most this many (chosen)."""

LEAST_PACE = 1e-3
"""Seconds that no attempt is thought to be shorter than (chosen)."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What every task of a driver says alike.

    Attributes:
        nonce: The store's.
        version: The driver's version of the code.
        lease: Number of the driver's lease.
        checkpoint_seconds: Wall time between checkpoints.
        gpu_memory: Bytes of one GPU, where runs share one.
        grows: Whether tasks that wait make the cluster grow.
    """

    nonce: str
    version: str
    lease: int
    checkpoint_seconds: float
    gpu_memory: float | None
    grows: bool


class Outgoing:
    """Keeps the launcher filled."""

    def __init__(self, state: State, terms: Terms) -> None:
        self._state = state
        self._terms = terms
        self._budget = Budget(state.plan.sweep)

    def dispatch(self) -> str | None:
        """Fill the launcher, the longest released runs first; those that the budget refuses wait for a refund.

        Returns:
            Why the budget ends the sweep, None while something is under way or may still start.
        """
        state, reason = self._state, None

        def affordable(task: Task) -> bool:
            nonlocal reason
            too_much = self._unaffordable(task.run_id)
            reason = too_much or reason
            return too_much is None

        slots = state.launcher.slots()
        planned = state.plan.sweep.sampler == "grid"
        ahead = self._ahead(slots)
        while len(state.inflight) < slots + ahead:
            if planned and not reason and state.waiting.low(RELEASED):
                self._propose(self._ask(RELEASED - len(state.waiting)))
            elif not planned and not reason:  # what is asked for later knows more results
                self._propose(self._ask(slots - len(state.inflight) - len(state.waiting)))
            task = state.waiting.pop(affordable)
            if task is None:
                break
            self._start(task)
        return None if state.inflight else reason

    def release(self, point: Point, *, spec: Document | None = None, after: Verdict | None = None) -> None:
        """Queue an attempt.

        Args:
            point: Of which run.
            spec: Its spec as a document, where that was made.
            after: What the attempt before has taught.
        """
        state, terms, sweep = self._state, self._terms, self._state.plan.sweep
        share = share_of(point.spec, sweep.resources, terms.gpu_memory)
        row = state.ledger.proposed_row(point.run_id)
        task = Task(
            run_id=point.run_id,
            attempt=len(state.ledger.attempts(point.run_id)),
            spec=spec or to_dict(point.spec),
            row=row,
            store=state.store.location,
            nonce=terms.nonce,
            version=terms.version,
            corpus=state.plan.corpus.hash,
            threads=max(1, int(sweep.resources.cpus)),
            gpus=share.gpus if after is None or after.gpus is None else after.gpus,
            checkpoint_seconds=terms.checkpoint_seconds,
            micro_batch=after.micro_batch if after else share.micro_batch,
            stop_request=state.stop_request,
            lease=terms.lease,
            memory=after.memory if after else None,
            trunk=trunk_of(sweep, point.spec),
            compile=sweep.resources.compile,
        )
        state.waiting.add(task, seconds=state.times.model.seconds(point.spec), seq=row["seq"])

    def _ahead(self, slots: int) -> int:
        """Tasks to hand over beyond the slots."""
        pace = self._state.times.pace
        if self._terms.grows:
            return min(max(slots, 16), DEMAND_AHEAD)
        if pace is None or self._budget.limited:  # what is handed over is reserved
            return QUEUED_AHEAD
        lasting = slots * QUEUED_SECONDS / max(pace, LEAST_PACE)
        return max(QUEUED_AHEAD, min(round(lasting), MOST_QUEUED))

    def _ask(self, count: int) -> list[Point]:
        points: list[Point] = []
        while len(points) < count and (point := self._state.proposer.ask()) is not None:
            points.append(point)
        return points

    def _propose(self, points: Sequence[Point]) -> None:
        """Keep new points in the store, then release them."""
        if not points:
            return
        failpoints.hit("propose.before")
        state = self._state
        documents = {seq: self._document(point) for seq, point in enumerate(points, state.ledger.next_seq)}
        try:
            state.store.add_proposals(documents)
        except ObjectExists as taken:
            raise InfrastructureError(
                f"{state.store.location}/{taken} was written by another driver; expected to be the only one. "
                "This one stops; isoflop status names the other."
            ) from None
        for (seq, document), point in zip(documents.items(), points, strict=True):
            state.ledger.proposed(seq, document)
            state.forecast.proposed(point)
            self.release(point, spec=document["spec"])
        failpoints.hit("propose.after")

    def _document(self, point: Point) -> Document:
        plan = self._state.plan
        return {
            "run_id": point.run_id,
            "row": point_row(plan.sweep, point, plan.corpus),
            "spec": to_dict(point.spec),
            "by": plan.sweep.sampler,
            "based_on": self._state.proposer.record(point.run_id),
        }

    def _start(self, task: Task) -> None:
        failpoints.hit("dispatch.before")
        self._state.launcher.submit(task)
        self._state.inflight[task.run_id] = task
        self._state.events.add("dispatched", run_id=task.run_id, attempt=task.attempt)
        failpoints.hit("dispatch.after")

    def _unaffordable(self, run_id: str) -> str | None:
        """Why a run does not fit into what may still be spent, with all that is under way; None where it does."""
        if not self._budget.limited:
            return None
        ledger = self._state.ledger
        spent = Spending(flops=ledger.flops_spent, seconds=ledger.seconds_spent)
        return self._budget.refusal(spent, map(self._reserved, self._state.inflight), self._reserved(run_id))

    def _reserved(self, run_id: str) -> Spending:
        point, model = self._state.points[run_id], self._state.times.model
        return Spending(flops=point.share * point.flops, seconds=point.share * model.seconds(point.spec))
