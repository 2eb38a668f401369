"""The entry of a worker process; it imports nothing of ours before it has checked that it is ours."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict

from orchestrator.errors import SweepError
from orchestrator.execution.task import Outcome, Task
from orchestrator.version import refuse_shadowed_packages

SPOILED_BY = ("error", "oom")
"""Endings after which a process is not used again: a CUDA error stays with it, and so may memory."""


def execute_remotely(task: Task) -> Outcome:
    """`worker.execute`, refused where the worker would import somebody else's `trainer`."""
    try:
        refuse_shadowed_packages()
    except SweepError as error:
        reason = f"{socket.gethostname()}: {error}"
        return Outcome(run_id=task.run_id, attempt=task.attempt, ending="refused", reason=reason)
    from orchestrator.execution.worker import execute

    outcome = execute(task)
    if outcome.ending in SPOILED_BY:
        _leave(task, outcome)
    return outcome


def _leave(task: Task, outcome: Outcome) -> None:
    """End this process, with the outcome as its last words in the store: Ray recycles no worker after a failure."""
    from orchestrator.store import Store

    Store(task.store).note_progress(task.run_id, {"attempt": task.attempt, "outcome": asdict(outcome)})
    os._exit(1)
