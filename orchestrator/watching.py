"""Which attempts have really started, and which make no step any more, read from the progress that they write.

Time is this process' own monotonic clock: what counts is how long a step number stands still for the driver that looks
at it, not what a worker's clock says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.execution.launcher import Launcher
from orchestrator.execution.task import Task
from orchestrator.store import Document, Store

LOOK_SECONDS = 2.0
"""How often the list of attempts under way is read (chosen)."""

LEAST_SECONDS = 120.0
"""No attempt is stuck before it made no step for so long (chosen)."""

START_FACTOR = 5.0
"""How much longer it may take before the first step and after the last: compilation, evaluation (chosen)."""

USUAL_STEPS = 5.0
"""A step that takes this many times the run's own average is stuck."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What was seen at one look, each a list of runs.

    Attributes:
        started: Seen to be under way for the first time.
        stuck: Under way, and without a step for too long.
        lost: Under way on a node that is gone.
        forgotten: Not started for long, although machines have room: a request that was lost on its way, such as one
            that Ray keeps at a node that froze.
    """

    started: Sequence[str] = ()
    stuck: Sequence[str] = ()
    lost: Sequence[str] = ()
    forgotten: Sequence[str] = ()


@dataclass
class _Seen:
    step: int | None
    since: float
    next_read: float
    node: str | None = None


class Watch:
    """Watches attempts through the store."""

    def __init__(
        self,
        store: Store,
        *,
        least: float = LEAST_SECONDS,
        look: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch a store; the seconds are there for tests."""
        self._store = store
        self._least = least
        self._look = look
        self._clock = clock
        self._next_look = 0.0
        self._seen: dict[str, _Seen] = {}
        self._flowed_at = clock()
        self._patience = least

    def look(self, tasks: Mapping[str, Task], launcher: Launcher) -> Sight:
        """Look at runs that were handed to a launcher, where it is time to.

        Args:
            tasks: Those whose outcome is awaited, by run.
            launcher: Asked which nodes are gone, and for which tasks there is room.
        """
        now = self._clock()
        if now < self._next_look:
            return Sight()
        self._next_look = now + self._look
        under_way = self._store.under_way().intersection(tasks)
        started = sorted(under_way - self._seen.keys())
        for run_id in started:
            self._seen[run_id] = _Seen(step=None, since=now, next_read=now)
        for run_id in self._seen.keys() - under_way:
            del self._seen[run_id]
        if started:
            self._flowed_at = now
        stuck = sorted(run_id for run_id in under_way if self._is_stuck(tasks[run_id], now))
        gone = launcher.gone() if under_way else ()
        waiting = [task for run_id, task in tasks.items() if run_id not in under_way]
        return Sight(
            started=started,
            stuck=stuck,
            lost=sorted(run_id for run_id in under_way if self._seen[run_id].node in gone),
            forgotten=self._forgotten(list(filter(launcher.has_room, waiting))),
        )

    @property
    def under_way(self) -> list[str]:
        """Runs that were under way when it was looked last."""
        return list(self._seen)

    def forget(self, run_id: str) -> None:
        """A run's attempt has ended."""
        self._seen.pop(run_id, None)
        self._flowed_at = self._clock()

    def _forgotten(self, could_start: Sequence[Task]) -> list[str]:
        """Runs that wait although there is room, once nothing has started or ended for long.

        To take one back costs it its place in a queue, so it is waited twice as long each time: machines may merely be
        slow to start their first worker.
        """
        now = self._clock()
        if not could_start:
            self._flowed_at = now
        if now - self._flowed_at <= self._patience:
            return []
        self._flowed_at = now
        self._patience *= 2
        return sorted(task.run_id for task in could_start)

    def _is_stuck(self, task: Task, now: float) -> bool:
        """Whether a run made no step for too long; its progress is read only as often as that needs."""
        seen = self._seen[task.run_id]
        if now < seen.next_read:
            return False
        progress = self._store.progress(task.run_id)
        if progress is None or "outcome" in progress:
            return False
        seen.node = progress.get("node")
        if progress["step"] is None and task.spec.get("trainer"):
            return False  # a trainer of the user's own need not report
        limit = self._limit(progress)
        seen.next_read = now + limit / 4
        if progress["step"] != seen.step:
            seen.step, seen.since = progress["step"], now
        if now - seen.since <= limit:
            return False
        seen.since = now  # so that it is said once, not at every look
        return True

    def _limit(self, progress: Document) -> float:
        """Seconds without a step after which an attempt is stuck."""
        step, first = progress["step"], progress["first"]
        if step is None or step == first or step == progress["steps"]:
            return max(START_FACTOR * self._least, float(progress["seconds"]) if step is not None else 0.0)
        usual: float = progress["seconds"] / (step - first)
        return max(self._least, USUAL_STEPS * usual)
