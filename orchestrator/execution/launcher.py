"""Where attempts are executed: the interface that Ray and the driver's own process both serve."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from orchestrator.execution.task import Ending, Outcome, Task


class Launcher(Protocol):
    """Executes tasks; a task submitted is a task whose outcome comes back, whatever dies."""

    def slots(self) -> int:
        """How many tasks the machines there are now can execute at once, at least 1."""

    def submit(self, task: Task) -> None:
        """Start a task, or queue it."""

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes that have come in, waiting up to `timeout` seconds for the first."""

    def has_room(self, task: Task) -> bool:
        """Whether a machine could start a task at this moment, as far as the machines say."""

    def gone(self) -> Collection[str]:
        """Nodes that were there and are not any more, by the names that tasks are given as `node`."""

    def kill(self, run_id: str, *, ending: Ending = "killed", reason: str = "it was killed") -> None:
        """End a task by force, or take it back where it has not started.

        Its outcome comes back soon, even from a machine that does not answer: with this ending and reason, or as it
        was if it had ended by itself.
        """

    def gpu_memory(self) -> int | None:
        """Bytes of memory of the smallest GPU that a machine tells of, None where none does."""

    def share_gpus(self, gpus: float) -> None:
        """Count room from now on for runs that take so much of a GPU on average."""

    def close(self) -> None:
        """Let go of the machines."""
