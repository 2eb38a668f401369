"""An append-only log of what the driver did, for people and the live page; losing it loses no result.

Each line is a CRC-32 of the rest, a space, and a JSON object. A torn last line, left by a crash, is cut off at the
next start.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class EventLog:
    """Appends events to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_tail(path)
        self._file = path.open("ab", buffering=0)

    def add(self, kind: str, **values: Any) -> None:
        """Append one event with the wall-clock time, in one write."""
        event = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": kind} | values
        body = json.dumps(event, sort_keys=True).encode()
        self._file.write(b"%08x %s\n" % (zlib.crc32(body), body))

    def close(self) -> None:
        """Sync and close."""
        os.fsync(self._file.fileno())
        self._file.close()


def read_events(path: Path) -> Iterator[Event]:
    """Events in order, up to the first line that is torn."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            event = _decode(line)
            if event is None:
                return
            yield event


def _decode(line: bytes) -> Event | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    event: Event = json.loads(body)
    return event


def _cut_torn_tail(path: Path) -> None:
    if not path.exists():
        return
    sound = 0
    with path.open("rb") as file:
        for line in file:
            if _decode(line) is None:
                break
            sound += len(line)
    if sound < path.stat().st_size:
        os.truncate(path, sound)
