"""The wall clock, for people alone: no decision is made by it, and the clocks of two machines are never compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator import failpoints


def utc_now() -> str:
    """Now, as ISO 8601 to the second."""
    return (datetime.now(UTC) + timedelta(seconds=failpoints.shift("clock"))).isoformat(timespec="seconds")
