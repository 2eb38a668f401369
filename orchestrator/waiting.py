"""Tasks that wait for a place: the longest first, the runs of one trunk one after another.

A branch goes on from the state that a shorter one of its trunk leaves behind; at the same time both would train the same
steps. So of each trunk one run is out at a time, the one that branches first before the others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.execution.task import Task


@dataclass(frozen=True, order=True)
class Entry:
    """A task and its place in the queue.

    Attributes:
        rank: Minus the predicted seconds.
        seq: Number of its proposal; equal ranks start in this order.
        task: The task.
    """

    rank: float
    seq: int
    task: Task = field(compare=False)


class Waiting:
    """A queue of tasks, of which those that wait for their trunk are no part yet."""

    def __init__(self) -> None:
        self._ready: list[Entry] = []
        self._held: dict[str, list[tuple[int, Entry]]] = {}
        self._out: dict[str, str] = {}

    def __len__(self) -> int:
        """Tasks that could start now."""
        return len(self._ready)

    @property
    def held(self) -> int:
        """Tasks that wait for another run of their trunk."""
        return sum(map(len, self._held.values()))

    def low(self, target: int) -> bool:
        """Whether more should be released, to keep about `target` tasks at hand."""
        return not self._ready or len(self._ready) + self.held <= target // 2

    @property
    def longest(self) -> Task | None:
        """The task that is next."""
        return self._ready[0].task if self._ready else None

    def add(self, task: Task, *, seconds: float, seq: int) -> None:
        """Queue a task; where another run of its trunk is out, until that one is settled."""
        entry = Entry(-seconds, seq, task)
        if task.trunk is None:
            heapq.heappush(self._ready, entry)
            return
        trunk, branch_step = task.trunk
        if self._out.setdefault(trunk, task.run_id) == task.run_id:
            heapq.heappush(self._ready, entry)
        else:
            heapq.heappush(self._held.setdefault(trunk, []), (branch_step, entry))

    def settled(self, task: Task) -> None:
        """A run has its result, or has failed for good: the next of its trunk may start."""
        if task.trunk is None or self._out.get(task.trunk[0]) != task.run_id:
            return
        trunk = task.trunk[0]
        if held := self._held.get(trunk):
            _, entry = heapq.heappop(held)
            self._out[trunk] = entry.task.run_id
            heapq.heappush(self._ready, entry)
        else:
            del self._out[trunk]

    def pop(self, allowed: Callable[[Task], bool] = lambda task: True) -> Task | None:
        """Take out the longest task that is allowed, None where there is none."""
        passed: list[Entry] = []
        found = None
        while self._ready and found is None:
            entry = heapq.heappop(self._ready)
            if allowed(entry.task):
                found = entry.task
            else:
                passed.append(entry)
        for entry in passed:
            heapq.heappush(self._ready, entry)
        return found
