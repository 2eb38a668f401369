"""Queries from the page: each in a process of its own, which is ended when it takes too long."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

ROWS = 1000
"""Rows shown (chosen)."""

SECONDS = 10
"""Longest query (chosen): the tables of 100,000 runs answer within a tenth of it."""

MEMORY_BYTES = 512 * 2**20
"""Memory of a query (chosen)."""

ADDRESS_BYTES = 8 * 2**30
"""Address space of its process (chosen): allocators reserve some gigabytes that they never touch."""

CELL = 400
"""Characters of one value that are shown (chosen)."""

AT_ONCE = 2
"""Queries at the same time (chosen)."""

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query gave.

    Attributes:
        columns: Names.
        rows: Cells as text.
        more: Whether rows were left out.
        error: Why there is none; the other fields are then empty.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    more: bool = False
    error: str | None = None


class Queries:
    """Runs queries over one store, a few at once."""

    def __init__(self, location: str, *, seconds: int = SECONDS) -> None:
        self._location = location
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def run(self, sql: str) -> Answer:
        """Run one SELECT."""
        if not self._free.acquire(blocking=False):
            return Answer(error=f"{AT_ONCE} queries are running; expected fewer. Wait for one to end.")
        try:
            return self._run(sql)
        finally:
            self._free.release()

    def _run(self, sql: str) -> Answer:
        asked = {
            "store": self._location,
            "sql": sql,
            "rows": ROWS,
            "cell": CELL,
            "memory_bytes": MEMORY_BYTES,
            "address_bytes": ADDRESS_BYTES,
            "seconds": self._seconds,
        }
        command = [sys.executable, "-m", "orchestrator.serving.confined"]
        try:
            done = subprocess.run(
                command, input=json.dumps(asked), capture_output=True, text=True, timeout=self._seconds, cwd=_ROOT
            )
        except subprocess.TimeoutExpired:
            return Answer(error=f"the query took more than {self._seconds} s and was ended; expected a short one. "
                          "Add a WHERE, or run it with isoflop query.")  # fmt: skip
        if done.returncode:
            return Answer(error="the query's process died, most likely of its memory limit. Ask for less.")
        given = json.loads(done.stdout)
        if "error" in given:
            return Answer(error=given["error"])
        return Answer(columns=tuple(given["columns"]), rows=tuple(map(tuple, given["rows"])), more=given["more"])
