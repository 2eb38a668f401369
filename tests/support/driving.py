"""A sweep that is driven on a cluster while a test does something to it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from processes import wait_until

from orchestrator import load_sweep, run
from orchestrator.observing import Result
from orchestrator.running import Options


class Slots:
    """An observer that notes how many runs fit at once."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def update(self, snapshot: Any) -> None:
        self.seen.append(snapshot.slots)

    def finished(self, row: dict[str, Any]) -> None:
        pass


class Driving:
    """A sweep that is driven in a thread while the test does something to it."""

    def __init__(self, address: str, sweep: Path, store: Path, *settings: str, **options: Any) -> None:
        self._result: Result | BaseException | None = None
        self._sweep = load_sweep(sweep, settings)
        self._store = store
        self._options = Options(address=address, **options)
        self._thread = threading.Thread(target=self._drive)
        self._thread.start()

    def result(self) -> Result:
        """How the sweep ended, once it has; what it raised is raised."""
        self._thread.join()
        if isinstance(self._result, BaseException):
            raise self._result
        assert self._result is not None
        return self._result

    def wait_for_progress(self) -> None:
        """Wait until an attempt is under way."""
        progress = self._store / "progress"
        wait_until(lambda: progress.exists() and any(progress.iterdir()), "an attempt under way")

    def _drive(self) -> None:
        try:
            self._result = run(self._sweep, self._store, self._options)
        except BaseException as error:
            self._result = error
