"""An observer that feeds trackers from a thread of its own: neither a slow one nor a broken one disturbs the sweep."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from orchestrator.errors import InfrastructureError
from orchestrator.observing import Observer, Snapshot
from orchestrator.store import Store
from orchestrator.tracking.tracker import Tracker

CLOSING_SECONDS = 60.0
"""How long the end of a sweep waits for a tracker that lags behind (chosen)."""

_log = logging.getLogger(__name__)


class Mirror(Observer, AbstractContextManager["Mirror"]):
    """Passes everything on to an observer, and each run that has ended to a tracker."""

    def __init__(
        self,
        observer: Observer,
        name: str,
        open_tracker: Callable[[], Tracker],
        store: str,
        *,
        closing_seconds: float = CLOSING_SECONDS,
    ) -> None:
        """Prepare; the tracker is opened by the thread.

        Args:
            observer: Who watches as well.
            name: Of the tracker, for messages.
            open_tracker: Makes it.
            store: Where the runs' curves are.
            closing_seconds: How long the end waits for the tracker.
        """
        self._observer = observer
        self._name = name
        self._open = open_tracker
        self._store = store
        self._closing_seconds = closing_seconds
        self._ended: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._off = threading.Event()
        self._thread = threading.Thread(target=self._feed, name=f"tracker-{name}", daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.put(None)
        self._thread.join(self._closing_seconds)
        if self._thread.is_alive():
            _log.warning("%s is still busy after %g s and is left; the store has everything", self._name, self._closing_seconds)  # fmt: skip  # noqa: E501

    def update(self, snapshot: Snapshot) -> None:
        """See `Observer.update`."""
        self._observer.update(snapshot)

    def finished(self, row: dict[str, Any]) -> None:
        """See `Observer.finished`."""
        self._observer.finished(row)
        if not self._off.is_set():
            self._ended.put(dict(row))

    def _feed(self) -> None:
        """The thread: any failure of a tracker is said once, and ends it alone."""
        try:
            store, tracker = Store(self._store), self._open()
            while (row := self._ended.get()) is not None:
                tracker.run_ended(row, _curve(store, row))
            tracker.close()
        except Exception as error:  # whatever a tracker raises, the sweep goes on
            self._off.set()
            _log.warning("%s is switched off, the sweep goes on: %s: %s", self._name, type(error).__name__, error)


def _curve(store: Store, row: Mapping[str, Any]) -> Mapping[str, Sequence[float]]:
    """The loss curve of a run, from its commit."""
    try:
        commit = store.commit(row["run_id"])
    except (InfrastructureError, ValueError):
        commit = None
    return {} if commit is None else commit["curve"]
