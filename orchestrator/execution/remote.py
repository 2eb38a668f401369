"""The entry of a worker process; it imports nothing of ours before it has checked that it is ours."""

from __future__ import annotations

import socket

from orchestrator.errors import SweepError
from orchestrator.execution.task import Outcome, Task
from orchestrator.version import refuse_shadowed_packages


def execute_remotely(task: Task) -> Outcome:
    """`worker.execute`, refused where the worker would import somebody else's `trainer`."""
    try:
        refuse_shadowed_packages()
    except SweepError as error:
        reason = f"{socket.gethostname()}: {error}"
        return Outcome(run_id=task.run_id, attempt=task.attempt, ending="refused", reason=reason)
    from orchestrator.execution.worker import execute

    return execute(task)
