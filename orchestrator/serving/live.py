"""The report on a store, made anew in the background when something was committed."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from analysis.errors import AnalysisError
from orchestrator.errors import OrchestratorError
from orchestrator.store import Store

LEAST_SECONDS = 10.0
"""Least time between two reports (chosen): a sweep commits more often, and nobody reads faster."""

CPU_SHARE = 0.2
"""Largest share of its time that this process makes reports, or reads progress (chosen): the cores belong to the
sweep."""

KEPT_SECONDS = 2.0
"""Least time between two readings of the progress (chosen)."""

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Page:
    """A report.

    Attributes:
        version: Of the commits that it was made from, see `store_version`.
        html: The page.
        seconds: How long it took.
    """

    version: str
    html: bytes
    seconds: float


def store_version(location: str) -> str:
    """A name for what is committed: it changes with every commit, and with nothing else."""
    names = Store(location).objects.names("commits")
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def make_report(location: str) -> bytes:
    """The report, without a trace in the store."""
    from analysis import write_report

    with tempfile.TemporaryDirectory(prefix="isoflop-serve-") as folder:
        page = Path(folder) / "report.html"
        write_report(location, page)
        return page.read_bytes()


class Kept(Generic[Value]):
    """A value that is read anew when it is asked for and is not fresh."""

    def __init__(self, read: Callable[[], Value]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._kept: list[Value] = []
        self._until = 0.0

    def value(self) -> Value:
        """The value; it may be some seconds old, more where reading it takes long."""
        with self._lock:
            started = time.monotonic()
            if not self._kept or started > self._until:
                self._kept = [self._read()]
                now = time.monotonic()
                self._until = now + max(KEPT_SECONDS, (now - started) / CPU_SHARE)
            return self._kept[0]


class LiveReport:
    """The newest report; the first is waited for, later ones are made while the old one is shown."""

    def __init__(self, location: str, make: Callable[[str], bytes] = make_report) -> None:
        self._location = location
        self._make = make
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._page: Page | None = None
        self._not_before = 0.0

    def page(self) -> Page:
        """The newest report that is ready.

        Raises:
            AnalysisError: The first report could not be made.
        """
        with self._lock:
            page = self._page or self._renew()
        self._renew_behind(page)
        return page

    @property
    def version(self) -> str | None:
        """Version of the newest report that is ready; looking at it has the next one made where it is due."""
        page = self._page
        if page is not None:
            self._renew_behind(page)
        return page.version if page else None

    def _renew_behind(self, page: Page) -> None:
        if time.monotonic() < self._not_before or not self._working.acquire(blocking=False):
            return
        thread = threading.Thread(target=self._renew_once, args=(page,), name="report", daemon=True)
        thread.start()

    def _renew_once(self, page: Page) -> None:
        try:
            if store_version(self._location) != page.version:
                self._renew()
        except (AnalysisError, OrchestratorError):
            self._rest(page.seconds)  # torn for a moment; the old page is shown, and it is tried again
        finally:
            self._working.release()

    def _renew(self) -> Page:
        started = time.monotonic()
        version = store_version(self._location)
        html = self._make(self._location)
        self._page = Page(version=version, html=html, seconds=time.monotonic() - started)
        self._rest(self._page.seconds)
        return self._page

    def _rest(self, seconds: float) -> None:
        self._not_before = time.monotonic() + max(LEAST_SECONDS, seconds / CPU_SHARE)
