"""Waiting for what a process does, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_SECONDS = 30.0
"""By then it has happened, or it never will."""


def wait_until(happened: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def wait_for_state(pid: int, state: str) -> None:
    """Wait until a process is in a state, such as T for stopped."""
    stat = Path(f"/proc/{pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == state, f"process {pid} is never {state}")
