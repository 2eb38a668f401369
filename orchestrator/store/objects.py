"""Objects in a folder or bucket; those that are the truth are created once, whole or not at all, and never changed.

`create` and `replace` are apart on purpose: results go through `create`, which fails where the name exists; only what
can be rebuilt (tables, a lease's counter) goes through `replace`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import Protocol

from orchestrator.errors import InfrastructureError, StoreError


class ObjectExists(Exception):  # noqa: N818 - a state, said as one
    """An object of this name was created before; it was not changed."""


class ObjectMissing(Exception):  # noqa: N818 - a state, said as one
    """No object of this name."""


class Objects(Protocol):
    """What a store needs of a file system or bucket. Keys are relative POSIX paths."""

    def create(self, key: str, data: bytes) -> None:
        """Write a new object, durably, whole or not at all.

        Raises:
            ObjectExists: The name is taken.
            InfrastructureError: Disk full, I/O error, or the service does not answer.
        """

    def replace(self, key: str, data: bytes) -> None:
        """Write an object that may exist; readers see the old or the new one, never a part."""

    def read(self, key: str) -> bytes:
        """Read an object.

        Raises:
            ObjectMissing: No object of this name.
        """

    def exists(self, key: str) -> bool:
        """Whether there is an object of this name."""

    def names(self, prefix: str) -> list[str]:
        """Names directly below a folder, sorted; empty where there is none."""

    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""


class LocalObjects:
    """Objects as files below a root folder, on a local disk or NFS.

    `os.link` gives a synced temporary file its name, and fails where the name exists (`os.rename` would overwrite
    silently).
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, key: str, data: bytes) -> None:
        """See `Objects.create`."""
        target = self._path(key)
        with _disk_errors(target):
            temporary = self._synced_temporary(data)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(temporary, target)
            except FileExistsError:
                raise ObjectExists(key) from None
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(target.parent)

    def replace(self, key: str, data: bytes) -> None:
        """See `Objects.replace`."""
        target = self._path(key)
        with _disk_errors(target):
            temporary = self._synced_temporary(data)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(target.parent)

    def read(self, key: str) -> bytes:
        """See `Objects.read`."""
        target = self._path(key)
        with _disk_errors(target):
            try:
                return target.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                raise ObjectMissing(key) from None

    def exists(self, key: str) -> bool:
        """See `Objects.exists`."""
        return self._path(key).exists()

    def names(self, prefix: str) -> list[str]:
        """See `Objects.names`."""
        try:
            return sorted(os.listdir(self._path(prefix)))
        except FileNotFoundError:
            return []

    def delete(self, key: str) -> None:
        """See `Objects.delete`."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = self.root / key
        if ".." in Path(key).parts or Path(key).is_absolute():
            raise StoreError(f"{key}: leaves the store; expected a name below {self.root}. Use a plain name.")
        return path

    def _synced_temporary(self, data: bytes) -> Path:
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.unlink(name)
            raise
        return Path(name)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _disk_errors(contextlib.AbstractContextManager["_disk_errors"]):  # noqa: N801 - used as a function
    """Turn an error of the disk into one that says what to do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError) or isinstance(error, FileNotFoundError):
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full; what was committed is safe. Free some space and repeat the command."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "expected a place that can be written. Choose another --store, or its permissions."
        else:
            advice = "expected a sound disk; what was committed is safe. Check the disk and repeat the command."
        raise InfrastructureError(f"{self.path}: {error.strerror}; {advice}") from error


def open_objects(location: str | Path) -> Objects:
    """Objects at a path.

    Raises:
        StoreError: The location is a URL of a kind that is not supported.
    """
    text = str(location)
    if "://" in text:
        raise StoreError(
            f"{text}: not a local or shared folder; expected a path that every node sees. Use a shared mount."
        )
    return LocalObjects(Path(text).expanduser().resolve())
