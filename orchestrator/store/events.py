"""An append-only log of what the driver did, for people and the live page; losing it loses no result.

Each line is a CRC-32 of the rest, a space, and a JSON object. A torn last line, left by a crash, is cut off at the
next start; a line that went bad later is passed over by readers, and those around it are kept.

A bucket cannot be appended to: there each driver writes segments, `events/<lease>-<number>.jsonl`, of the same lines.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from orchestrator import failpoints
from orchestrator.clock import utc_now
from orchestrator.store.local import LocalObjects, disk_failure
from orchestrator.store.objects import ObjectMissing, Objects

Event = dict[str, Any]

FILE = "events.jsonl"
FOLDER = "events"

SEGMENT_SECONDS = 10.0
"""How often a segment is written to a bucket (chosen)."""

SEGMENT_BYTES = 1 << 20
"""Size from which a new segment is begun (chosen)."""


_encoder = json.JSONEncoder(sort_keys=True)


class EventLog(Protocol):
    """Where events go."""

    def add(self, kind: str, **values: Any) -> None:
        """Append one event with the wall-clock time."""

    def close(self) -> None:
        """Make everything durable."""


def open_events(objects: Objects, lease: int) -> EventLog:
    """The log of a store, for its driver alone."""
    return FileLog(objects.root / FILE) if isinstance(objects, LocalObjects) else SegmentLog(objects, lease)


def read_events(objects: Objects) -> Iterator[Event]:
    """Events in order; lines that are torn are passed over."""
    if isinstance(objects, LocalObjects):
        path = objects.root / FILE
        if path.exists():
            with path.open("rb") as file:
                yield from _sound(file)
        return
    for name in objects.names(FOLDER):
        try:
            yield from _sound(objects.read(f"{FOLDER}/{name}").splitlines(keepends=True))
        except ObjectMissing:
            continue


class FileLog:
    """Appends to a file, each event in one write, so that only a crash of the machine can tear a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_tail(path)
        self._file = path.open("ab", buffering=0)

    def add(self, kind: str, **values: Any) -> None:
        """See `EventLog.add`."""
        failpoints.hit("event.before")
        line = _encode(kind, values)
        try:
            failpoints.hit("event.write")
            half = len(line) // 2
            if failpoints.armed("event.middle"):
                self._file.write(line[:half])
                failpoints.hit("event.middle")
                line = line[half:]
            self._file.write(line)
        except OSError as error:
            raise disk_failure(self._path, error) from error

    def close(self) -> None:
        """See `EventLog.close`."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise disk_failure(self._path, error) from error
        finally:
            self._file.close()


class SegmentLog:
    """Writes segments to a bucket; a crash loses the events of the last seconds."""

    def __init__(self, objects: Objects, lease: int) -> None:
        self._objects = objects
        self._lease = lease
        self._number = 0
        self._lines: list[bytes] = []
        self._written_at = time.monotonic()

    def add(self, kind: str, **values: Any) -> None:
        """See `EventLog.add`."""
        self._lines.append(_encode(kind, values))
        if time.monotonic() - self._written_at > SEGMENT_SECONDS:
            self._write()

    def close(self) -> None:
        """See `EventLog.close`."""
        self._write()

    def _write(self) -> None:
        segment = b"".join(self._lines)
        self._objects.replace(f"{FOLDER}/{self._lease:06d}-{self._number:06d}.jsonl", segment)
        self._written_at = time.monotonic()
        if len(segment) > SEGMENT_BYTES:
            self._number += 1
            self._lines.clear()


def _encode(kind: str, values: Event) -> bytes:
    body = _encoder.encode({"at": utc_now(), "event": kind} | values).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _decode(line: bytes) -> Event | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    event: Event = json.loads(body)
    return event


def _sound(lines: Iterable[bytes]) -> Iterator[Event]:
    for line in lines:
        event = _decode(line)
        if event is not None:
            yield event


def _cut_torn_tail(path: Path) -> None:
    """Remove the last line where it has no end."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                break
            end = start
        sound = start + newline + 1 if end else 0
        if sound < file.seek(0, os.SEEK_END):
            file.truncate(sound)
