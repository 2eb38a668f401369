"""Where attempts are executed: the interface that Ray and the driver's own process both serve."""

from __future__ import annotations

from typing import Protocol

from orchestrator.execution.task import Outcome, Task


class Launcher(Protocol):
    """Executes tasks; a task submitted is a task whose outcome comes back, whatever dies."""

    def slots(self) -> int:
        """How many tasks the machines there are now can execute at once, at least 1."""

    def submit(self, task: Task) -> None:
        """Start a task, or queue it."""

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes that have come in, waiting up to `timeout` seconds for the first."""

    def kill(self, run_id: str) -> None:
        """End a task by force; its outcome comes back as `killed`."""

    def close(self) -> None:
        """Let go of the machines."""
