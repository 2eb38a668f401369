"""Attempts in the driver's own process, one after another: for a debugger, for tests, and for the smallest machines."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from orchestrator.errors import CapacityError
from orchestrator.execution.task import Ending, Outcome, Task
from orchestrator.execution.worker import execute
from orchestrator.sweep import Resources


class InlineLauncher:
    """A `Launcher` without any other process."""

    def __init__(self, resources: Resources) -> None:
        if resources.gpus:
            from trainer.devices import gpu_count

            if gpu_count() == 0:
                raise CapacityError(
                    f"runs ask for {resources.gpus:g} GPU; torch sees none on this machine. "
                    "Set resources.gpus: 0, or start on a machine with a CUDA build of torch and a GPU."
                )
        self._queue: deque[Task] = deque()
        self._taken_back: list[Outcome] = []

    def slots(self) -> int:
        """One."""
        return 1

    def submit(self, task: Task) -> None:
        """Queue a task; `wait` executes it."""
        self._queue.append(task)

    def wait(self, timeout: float) -> list[Outcome]:
        """Execute the oldest task."""
        if self._taken_back:
            outcomes, self._taken_back = self._taken_back, []
            return outcomes
        return [execute(self._queue.popleft(), inline=True)] if self._queue else []

    def has_room(self, task: Task) -> bool:
        """Never: what waits here waits for this very process."""
        return False

    def gone(self) -> Collection[str]:
        """None: there is one machine, and it is this."""
        return ()

    def kill(self, run_id: str, *, ending: Ending = "killed", reason: str = "it was killed") -> None:
        """Take a queued task back; one that is executing is this very process."""
        for task in [task for task in self._queue if task.run_id == run_id]:
            self._queue.remove(task)
            self._taken_back.append(Outcome(run_id=run_id, attempt=task.attempt, ending=ending, reason=reason))

    def gpu_memory(self) -> int | None:
        """That of this process' first GPU."""
        from trainer import devices

        return devices.gpu_memory()

    def share_gpus(self, gpus: float) -> None:
        """Nothing: one run at a time has it alone."""

    def close(self) -> None:
        """Nothing to let go of."""
