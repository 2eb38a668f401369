"""What follows when an attempt ends: one function from how it ended, and how often before, to what is done next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.execution.task import Outcome, Task

KILLED_TRIES = 3
"""Attempts for a run whose worker process dies: the fault may be the run's own (host memory)."""

MEMORY_GROWTH = 1.5
"""Factor on the memory reservation after host memory ran out (chosen)."""

DEFAULT_MEMORY = 2 * 1024**3
"""Bytes taken as the reservation of a run that had none and ran out of host memory (chosen)."""

SAME_ERROR_LIMIT = 3
"""The same traceback on this many runs pauses the sweep: it is a bug, not chance."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do about a run.

    Attributes:
        action: `done` (committed), `again` (a new attempt), `give-up` (the run keeps a failed status), `leave` (for a
            later driver), `refuse` (no worker can go on with this sweep), or `broken` (storage failed: stop).
        status: Status that the attempt leaves in the table; None leaves no word of it.
        micro_batch: For `again`, windows per forward pass; None for the whole batch.
        memory: For `again`, bytes of host memory to reserve.
        gpus: For `again`, GPUs to reserve.
    """

    action: Literal["done", "again", "give-up", "leave", "refuse", "broken"]
    status: Literal["oom", "error", "lost", "cancelled"] | None = None
    micro_batch: int | None = None
    memory: float | None = None
    gpus: float | None = None


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
        case "withdrawn":
            return Verdict(action="leave")
        case "unfit":  # nothing was tried, so no word of it is left
            return Verdict(action="again", memory=task.memory, micro_batch=task.micro_batch, gpus=task.gpus)
        case "refused":
            return Verdict(action="refuse", status="error")
        case "storage":
            return Verdict(action="broken", status="lost")
        case "preempted" | "lost":
            return _again(task, "lost", memory=task.memory)
        case "killed":
            return _after_death(outcome, task, history)
        case "oom":
            return _after_device_memory(task)
        case "error":
            return Verdict(action="give-up", status="error")


def _again(
    task: Task,
    status: Literal["oom", "lost"],
    *,
    memory: float | None = None,
    micro_batch: int | None = None,
    gpus: float | None = None,
) -> Verdict:
    return Verdict(
        action="again",
        status=status,
        memory=memory or task.memory,
        micro_batch=micro_batch or task.micro_batch,
        gpus=gpus or task.gpus,
    )


def _after_death(outcome: Outcome, task: Task, history: Sequence[str]) -> Verdict:
    """A worker that died may have been killed for the memory that its run took."""
    if sum(ending == "killed" for ending in history) + 1 >= KILLED_TRIES:
        return Verdict(action="give-up", status="lost")
    asked_for_memory = task.memory is not None or "memory" in (outcome.reason or "")
    grown = (task.memory or DEFAULT_MEMORY) * MEMORY_GROWTH if asked_for_memory else None
    return _again(task, "lost", memory=grown)


def _after_device_memory(task: Task) -> Verdict:
    """Halve the micro-batch down to one window; then ask for the whole device; then give up."""
    micro_batch = task.micro_batch or task.spec["batch_contexts"]
    if micro_batch > 1:
        return _again(task, "oom", micro_batch=micro_batch // 2)
    if 0 < task.gpus < 1:
        return _again(task, "oom", gpus=1.0)
    return Verdict(action="give-up", status="oom")


def bug_of(outcome: Outcome) -> str | None:
    """What tells one bug from another: the error's kind and the lines that it went through, not its message."""
    if outcome.traceback is None:
        return None
    lines = [line for line in outcome.traceback.splitlines() if line.startswith("  File ")]
    kind = (outcome.reason or "").partition(":")[0]
    return "\n".join([*lines, kind])
