"""What is shown of a sweep while it runs, to whoever watches the driver."""

from __future__ import annotations

import time

from orchestrator.driving.state import State
from orchestrator.forecast import informed, read_progress, shares_done
from orchestrator.observing import Observer, Snapshot

SHOW_SECONDS = 0.5
"""Least time between two looks (chosen)."""

SHOW_SHARE = 0.05
"""Share of the driver's time that whoever watches may take (chosen)."""


class Showing:
    """Tells an observer how a sweep stands."""

    def __init__(self, state: State, observer: Observer) -> None:
        self._state = state
        self._observer = observer
        self._next = 0.0

    def now(self) -> None:
        """Tell at once."""
        self._observer.update(snapshot(self._state))

    def when_due(self) -> None:
        """Tell, in at most a small share of the driver's time."""
        start = time.monotonic()
        if start >= self._next:
            self.now()
            self._next = start + max(SHOW_SECONDS, (time.monotonic() - start) / SHOW_SHARE)


def snapshot(state: State) -> Snapshot:
    """How a sweep stands; attempts under way are asked how far they are."""
    times = state.times
    under_way = {run_id: state.points[run_id] for run_id in state.watch.under_way if run_id in state.inflight}
    progress = read_progress(state.store, under_way)
    longest = state.waiting.longest
    return Snapshot(
        plan=state.plan,
        ledger=state.ledger,
        spent_flops=state.ledger.flops_spent,
        prediction=state.forecast.predict(
            informed(times.runs, times.guess, progress, under_way),
            shares_done(progress, under_way),
            times.model.seconds(state.points[longest.run_id].spec) if longest else 0.0,
        ),
        elapsed_seconds=time.monotonic() - state.started_at,
        slots=state.launcher.slots(),
        last=state.last,
        stopping=state.stopping,
        retries=state.retries,
    )
