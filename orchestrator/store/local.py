"""Objects as files on a local disk or NFS."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator import failpoints
from orchestrator.errors import InfrastructureError, StoreError
from orchestrator.store.objects import ObjectExists, ObjectMissing

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

    def _create(self, target: Path, key: str, data: bytes) -> None:
        kind = key.partition("/")[0]
        failpoints.hit(f"{kind}.before_write")
        temporary = self._temporary(data, durable=True)
        try:
            failpoints.hit(f"{kind}.after_write")
            _make_folder(target.parent)
            _link(temporary, target, key)
            failpoints.hit(f"{kind}.after_link")
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
        failpoints.hit(f"{kind}.after_sync")

    def replace(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """See `Objects.replace`."""
        kind = key.partition("/")[0]
        target = self._path(key)
        with _disk_errors(target):
            failpoints.hit(f"{kind}.before_write")
            temporary = self._temporary(data, durable=durable)
            try:
                failpoints.hit(f"{kind}.after_write")
                _make_folder(target.parent)
                os.replace(temporary, target)
                failpoints.hit(f"{kind}.after_rename")
            finally:
                temporary.unlink(missing_ok=True)
            if durable:
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
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, key: str) -> None:
        """See `Objects.delete`."""
        with _disk_errors(self._path(key)):
            self._path(key).unlink(missing_ok=True)

    def delete_folder(self, prefix: str) -> None:
        """See `Objects.delete_folder`."""
        shutil.rmtree(self._path(prefix), ignore_errors=True)

    def _path(self, key: str) -> Path:
        path = self.root / key
        if ".." in Path(key).parts or Path(key).is_absolute():
            raise StoreError(f"{key}: leaves the store; expected a name below {self.root}. Use a plain name.")
        return path

    def _temporary(self, data: bytes, *, durable: bool) -> Path:
        """A file with the data, under a name that no other process uses."""
        path = self.root / TEMPORARY / secrets.token_hex(12)
        _make_folder(path.parent)
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                if durable:
                    failpoints.hit("disk.sync")
                    os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path


def _link(temporary: Path, target: Path, key: str) -> None:
    """Name a file.

    Raises:
        ObjectExists: The name is another file's. NFS may repeat a request whose answer was lost: the name is then ours.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        if not os.path.samefile(temporary, target):
            raise ObjectExists(key) from None


def _make_folder(folder: Path) -> None:
    """Make a folder and sync the parents of every new one, so that what is named in it outlasts a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
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
