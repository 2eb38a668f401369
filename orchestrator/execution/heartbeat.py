"""How far an attempt is, written to the store every few seconds by a thread, and whether it should go on.

Training only notes its step; the thread writes it, looks for a request to stop, and brings new checkpoints to a
bucket. So neither a slow store nor a trainer that asks often costs training time.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from orchestrator.errors import InfrastructureError
from orchestrator.execution.task import Task
from orchestrator.store import Store
from trainer.execution import Progress

_log = logging.getLogger(__name__)


class Heartbeat:
    """Writes the progress of one attempt while it is open."""

    def __init__(self, task: Task, store: Store, *, also: Callable[[], None] = lambda: None) -> None:
        """Prepare.

        Args:
            task: The attempt.
            store: Where to write.
            also: Called at every beat.
        """
        self.stop_requested = False
        self._task = task
        self._store = store
        self._also = also
        self._started = time.monotonic()
        self._first: int | None = None
        self._latest: Progress | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(InfrastructureError):
            self._store.forget_progress(self._task.run_id)

    def note(self, progress: Progress) -> None:
        """Take note of a step; called by the trainer. The first is written at once: this trainer reports its steps."""
        first = self._latest is None
        if first:
            self._first = progress.step
        self._latest = progress
        if first:
            self._write()

    @property
    def flops_spent(self) -> float:
        """FLOPs of the steps that this attempt has reported."""
        return flops_of(self._document(), self._task.row)

    def _beat(self) -> None:
        while not self._over.wait(self._store.objects.heartbeat_seconds):
            self._write()

    def _write(self) -> None:
        try:
            self._store.note_progress(self._task.run_id, self._document())
            self.stop_requested = self.stop_requested or self._store.requested(self._task.stop_request)
            self._also()
        except InfrastructureError as error:  # progress is for watching; a commit says so where it fails
            _log.warning("progress was not written: %s", error)

    def _document(self) -> dict[str, Any]:
        latest = self._latest
        return {
            "attempt": self._task.attempt,
            "first": self._first,
            "step": latest.step if latest else None,
            "steps": latest.steps if latest else None,
            "train_loss": repr(latest.train_loss) if latest else None,
            "seconds": time.monotonic() - self._started,
            "host": socket.gethostname(),
            "node": self._task.node,
        }


def flops_of(progress: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    """FLOPs of the steps between the first and the last that an attempt reported.

    Args:
        progress: What it wrote last.
        row: What the results table says of its run.
    """
    if progress["step"] is None:
        return 0.0
    done = (progress["step"] - progress["first"]) / progress["steps"]
    return float(done * row["flops"])
