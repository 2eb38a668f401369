"""Objects as files on a local disk or NFS."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator import failpoints
from orchestrator.errors import InfrastructureError, StoreError
from orchestrator.store.objects import WRITTEN_AT_ONCE, ObjectExists, ObjectMissing

TEMPORARY = "tmp"
"""Folder of files that have no name of their own yet; a crash leaves some, the next driver removes them."""


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""Errors that are the disk's: not a run's, and not of a name."""


class LocalObjects:
    """Objects as files below a root folder.

    `os.link` gives a synced temporary file its name, and fails where the name exists (`os.rename` would overwrite
    silently).
    """

    heartbeat_seconds = 2.0

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)

    def create(self, key: str, data: bytes) -> None:
        """See `Objects.create`."""
        target = self._path(key)
        with _disk_errors(target):
            try:
                self._create(target, key, data)
            except FileNotFoundError:  # the next driver removed our temporary file: this worker was taken for dead
                self._create(target, key, data)

    def _create(self, target: str, key: str, data: bytes) -> None:
        temporary = self._temporary()
        try:
            _write(temporary, key, data)
            _link(temporary, target, key)
        finally:
            _remove(temporary)
        _sync_folder(os.path.dirname(target))
        failpoints.hit(f"{_kind(key)}.after_sync")

    def create_all(self, objects: Mapping[str, bytes]) -> None:
        """See `Objects.create_all`; each folder is synced once for all of its objects."""
        targets = {key: self._path(key) for key in objects}
        temporaries = {key: self._temporary() for key in objects}
        with _disk_errors(self.root):
            try:
                _write_all(temporaries, objects)
                for key, target in targets.items():
                    try:
                        _link(temporaries[key], target, key)
                    except FileNotFoundError:  # as in `create`
                        self._create(target, key, objects[key])
            finally:
                for temporary in temporaries.values():
                    _remove(temporary)
            for folder in {os.path.dirname(target) for target in targets.values()}:
                _sync_folder(folder)
        for key in objects:
            failpoints.hit(f"{_kind(key)}.after_sync")

    def replace(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """See `Objects.replace`."""
        target, temporary = self._path(key), self._temporary()
        with _disk_errors(target):
            try:
                _write(temporary, key, data, durable=durable)
                _make_folder(os.path.dirname(target))
                os.replace(temporary, target)
                failpoints.hit(f"{_kind(key)}.after_rename")
            finally:
                _remove(temporary)
            if durable:
                _sync_folder(os.path.dirname(target))

    def read(self, key: str) -> bytes:
        """See `Objects.read`."""
        target = self._path(key)
        with _disk_errors(target):
            try:
                with open(target, "rb") as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                raise ObjectMissing(key) from None

    def exists(self, key: str) -> bool:
        """See `Objects.exists`."""
        return os.path.exists(self._path(key))

    def names(self, prefix: str) -> list[str]:
        """See `Objects.names`."""
        try:
            return sorted(os.listdir(self._path(prefix)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, key: str) -> None:
        """See `Objects.delete`."""
        target = self._path(key)
        with _disk_errors(target):
            _remove(target)

    def delete_folder(self, prefix: str) -> None:
        """See `Objects.delete_folder`."""
        shutil.rmtree(self._path(prefix), ignore_errors=True)

    def _path(self, key: str) -> str:
        if ".." in key.split("/") or key.startswith("/"):
            raise StoreError(f"{key}: leaves the store; expected a name below {self.root}. Use a plain name.")
        return f"{self.location}/{key}"

    def _temporary(self) -> str:
        """A name that no other process uses."""
        return f"{self.location}/{TEMPORARY}/{secrets.token_hex(12)}"


def _kind(key: str) -> str:
    """The folder of an object, by which failpoints are named."""
    return key.partition("/")[0]


def _write_all(paths: Mapping[str, str], objects: Mapping[str, bytes]) -> None:
    """Write several files, by key, in a few threads that wait for the disk side by side."""
    keys = list(objects)

    def write(some: Sequence[str]) -> None:
        for key in some:
            _write(paths[key], key, objects[key])

    shares = [keys[first::WRITTEN_AT_ONCE] for first in range(min(len(keys), WRITTEN_AT_ONCE))]
    with ThreadPoolExecutor(WRITTEN_AT_ONCE, thread_name_prefix="create") as threads:
        list(threads.map(write, shares))


def _write(path: str, key: str, data: bytes, *, durable: bool = True) -> None:
    """Write a file that has no name of its own yet; it is removed where that fails."""
    failpoints.hit(f"{_kind(key)}.before_write")
    _make_folder(os.path.dirname(path))
    try:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            if durable:
                failpoints.hit("disk.sync")
                os.fsync(file.fileno())
    except OSError:
        _remove(path)
        raise
    failpoints.hit(f"{_kind(key)}.after_write")


def _link(temporary: str, target: str, key: str) -> None:
    """Name a file.

    Raises:
        ObjectExists: The name is another file's. NFS may repeat a request whose answer was lost: the name is then ours.
    """
    _make_folder(os.path.dirname(target))
    try:
        os.link(temporary, target)
    except FileExistsError:
        if not os.path.samefile(temporary, target):
            raise ObjectExists(key) from None
    failpoints.hit(f"{_kind(key)}.after_link")


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _make_folder(folder: str) -> None:
    """Make a folder and sync the parents of every new one, so that what is named in it outlasts a power cut."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder) or "."
    _make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    _sync_folder(parent)


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_errors(path: Path | str) -> Iterator[None]:
    """Turn an error of the disk into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise disk_failure(path, error) from error


def disk_failure(path: Path | str, error: OSError) -> InfrastructureError:
    """What an error of the disk means for a sweep."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "the disk is full; what was committed is safe. Free some space and repeat the command."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "expected a place that can be written. Choose another --store, or its permissions."
    else:
        advice = "expected a sound disk; what was committed is safe. Check the disk and repeat the command."
    return InfrastructureError(f"{path}: {error.strerror or error}; {advice}")
