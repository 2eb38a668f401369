"""What a store needs of a disk or bucket: objects that are created once, whole or not at all, and never changed.

`create` and `replace` are apart on purpose: results go through `create`, which fails where the name exists; only what
can be rebuilt (tables, a lease's counter) goes through `replace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

WRITTEN_AT_ONCE = 8
"""Objects written side by side: a disk syncs several files in hardly more time than one (chosen)."""


class ObjectExists(Exception):  # noqa: N818 - a state, said as one
    """An object of this name was created before; it was not changed."""


class ObjectMissing(Exception):  # noqa: N818 - a state, said as one
    """No object of this name."""


class Objects(Protocol):
    """Objects by key; keys are relative POSIX paths.

    Every method raises `InfrastructureError` where the disk is full or broken, or the service does not answer.

    Attributes:
        location: Path or URL of all objects, by which another process finds them.
        heartbeat_seconds: How often a running attempt may write its progress here.
    """

    location: str
    heartbeat_seconds: float

    def create(self, key: str, data: bytes) -> None:
        """Write a new object, durably, whole or not at all.

        Raises:
            ObjectExists: The name is taken.
        """

    def create_all(self, objects: Mapping[str, bytes]) -> None:
        """Write new objects, by key, side by side: each durably, whole or not at all.

        Raises:
            ObjectExists: A name is taken; the others may have been written.
        """

    def replace(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write an object that may exist; readers see the old or the new one, never a part.

        Args:
            key: Its name.
            data: Its content.
            durable: Whether it must outlast a power cut.
        """

    def read(self, key: str) -> bytes:
        """Read an object.

        Raises:
            ObjectMissing: No object of this name.
        """

    def exists(self, key: str) -> bool:
        """Whether there is an object of this name."""

    def names(self, prefix: str) -> list[str]:
        """Names directly below a folder, folders included, sorted; empty where there is none."""

    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""

    def delete_folder(self, prefix: str) -> None:
        """Remove everything below a folder; no error where there is nothing."""


def open_objects(location: str | Path) -> Objects:
    """Objects at a path or URL (`s3://...`, `gs://...`).

    Raises:
        StoreError: The location is a URL of a kind that is not supported.
    """
    text = str(location)
    if "://" in text:
        from orchestrator.store.bucket import BucketObjects

        return BucketObjects(text)
    from orchestrator.store.local import LocalObjects

    return LocalObjects(Path(text).expanduser().resolve())
