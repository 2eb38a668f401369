"""What follows when an attempt ends: one function from how it ended, and how often before, to what is done next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.execution.task import Outcome, Task

KILLED_TRIES = 3
"""Attempts for a run whose worker process dies: the fault may be the run's own (host memory)."""

MEMORY_GROWTH = 1.5
"""Factor on the memory reservation after the first death (chosen)."""

DEFAULT_MEMORY = 2 * 1024**3
"""Reservation for a run whose worker died and that had none (chosen)."""

SAME_ERROR_LIMIT = 3
"""The same traceback on this many runs pauses the sweep: it is a bug, not chance."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do about a run.

    Attributes:
        action: `done` (committed), `again` (a new attempt), `give-up` (the run keeps a failed status), `leave`
        (pending, for a
            later driver), or `refuse` (the sweep cannot go on).
        status: Status that the failed attempt leaves in the table, None for `done`.
        micro_batch: For `again` after device memory ran out.
        memory: For `again` after host memory ran out, bytes to reserve.
    """

    action: Literal["done", "again", "give-up", "leave", "refuse"]
    status: Literal["oom", "error", "lost", "cancelled"] | None = None
    micro_batch: int | None = None
    memory: float | None = None


def judge(outcome: Outcome, task: Task, history: Sequence[str]) -> Verdict:
    """Decide what follows.

    Args:
        outcome: How the attempt ended.
        task: What it was.
        history: Endings of the run's earlier attempts under this driver.
    """
    match outcome.ending:
        case "ok" | "diverged":
            return Verdict(action="done")
        case "stopped":
            return Verdict(action="leave", status="cancelled")
        case "refused":
            return Verdict(action="refuse", status="error")
        case "preempted" | "lost":
            return Verdict(action="again", status="lost", micro_batch=task.micro_batch, memory=task.memory)
        case "killed":
            if sum(ending == "killed" for ending in history) + 1 >= KILLED_TRIES:
                return Verdict(action="give-up", status="lost")
            memory = (
                (task.memory or DEFAULT_MEMORY) * MEMORY_GROWTH
                if task.memory or "memory" in (outcome.reason or "")
                else None
            )
            return Verdict(action="again", status="lost", micro_batch=task.micro_batch, memory=memory)
        case "oom":
            batch = task.micro_batch or task.spec["batch_contexts"]
            if batch > 1:
                return Verdict(action="again", status="oom", micro_batch=batch // 2, memory=task.memory)
            return Verdict(action="give-up", status="oom")
        case "error":
            return Verdict(action="give-up", status="error")
