"""Objects in a bucket of S3, of what speaks its protocol, or of Google Cloud Storage, through fsspec.

Create-only is the service's own precondition: `If-None-Match: *` on S3, generation 0 on Google. A request whose answer
was lost may have been served, so an object that exists is compared with what was to be written before it counts as
somebody else's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from orchestrator import failpoints
from orchestrator.errors import InfrastructureError, StoreError
from orchestrator.store.objects import WRITTEN_AT_ONCE, ObjectExists, ObjectMissing
from orchestrator.store.services import name_is_taken, service_of

TRIES = 8
"""Tries of a request that the service did not serve, over half a minute: 503, 409, 429, a timeout (chosen)."""

FIRST_PAUSE_SECONDS = 0.25
"""Pause after the first failure; it doubles, with chance, so that many workers don't come back at once."""

_Result = TypeVar("_Result")


class BucketObjects:
    """Objects below a URL such as `s3://bucket/sweeps/mine`."""

    heartbeat_seconds = 15.0

    def __init__(self, url: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        """Connect lazily.

        Args:
            url: Where the objects are.
            pause: Sleeps between tries; a test may pass its own.

        Raises:
            StoreError: A URL of another kind, or its package is not installed.
        """
        self.location = url.rstrip("/")
        self._pause = pause
        self._service = service_of(self.location)
        self._files = self._service.files

    def create(self, key: str, data: bytes) -> None:
        """See `Objects.create`."""
        kind = key.partition("/")[0]
        failpoints.hit(f"{kind}.before_write")
        try:
            self._written(key, data, mode="create")
        except FileExistsError:
            if self.read(key) != data:
                raise ObjectExists(key) from None
        failpoints.hit(f"{kind}.after_link")

    def create_all(self, objects: Mapping[str, bytes]) -> None:
        """See `Objects.create_all`."""
        with ThreadPoolExecutor(WRITTEN_AT_ONCE, thread_name_prefix="create") as threads:
            list(threads.map(self.create, objects.keys(), objects.values()))

    def replace(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """See `Objects.replace`; what a bucket has taken is durable."""
        self._written(key, data, mode="overwrite")

    def read(self, key: str) -> bytes:
        """See `Objects.read`."""
        try:
            data: bytes = self._tried(key, lambda: self._files.cat_file(self._path(key)))
            return data
        except FileNotFoundError:
            raise ObjectMissing(key) from None

    def exists(self, key: str) -> bool:
        """See `Objects.exists`: what is asked for is small, and to ask about it takes two requests where it is missing."""
        try:
            self.read(key)
            return True
        except ObjectMissing:
            return False

    def names(self, prefix: str) -> list[str]:
        """See `Objects.names`."""
        path = self._path(prefix)
        try:
            found = self._tried(prefix, lambda: self._files.ls(path, detail=False, refresh=True))
        except FileNotFoundError:
            return []
        names = (name.rstrip("/").rpartition("/")[2] for name in found if name.rstrip("/") != path)
        return sorted(name for name in names if name)

    def delete(self, key: str) -> None:
        """See `Objects.delete`."""
        try:
            self._tried(key, lambda: self._files.rm_file(self._path(key)))
        except FileNotFoundError:
            return

    def delete_folder(self, prefix: str) -> None:
        """See `Objects.delete_folder`."""
        try:
            self._tried(prefix, lambda: self._files.rm(self._path(prefix), recursive=True))
        except FileNotFoundError:
            return

    def _path(self, key: str) -> str:
        if ".." in key.split("/") or key.startswith("/"):
            raise StoreError(f"{key}: leaves the store; expected a name below {self.location}. Use a plain name.")
        return f"{self._service.root}/{key}" if key else self._service.root

    def _written(self, key: str, data: bytes, *, mode: str) -> None:
        path = self._path(key)
        try:
            self._tried(key, lambda: self._files.pipe_file(path, data, mode=mode))
        except FileNotFoundError:
            raise StoreError(
                f"{self.location}: no such bucket; expected one that exists. Make it, or choose another --store."
            ) from None

    def _tried(self, key: str, request: Callable[[], _Result]) -> _Result:
        """The answer to a request, tried again while the service does not serve it.

        Raises:
            FileExistsError: The precondition failed.
            FileNotFoundError: There is no such object.
            InfrastructureError: The service refuses, or does not answer.
        """
        pause = FIRST_PAUSE_SECONDS
        for left in reversed(range(TRIES)):
            try:
                return request()
            except FileNotFoundError:
                raise
            except self._service.errors as error:
                if name_is_taken(error):
                    raise FileExistsError(key) from None
                if not left or self._service.gives_up(error):
                    raise InfrastructureError(
                        f"{self.location}/{key}: {error}; what was committed is safe. Check access and the service, "
                        "then repeat the command."
                    ) from error
            self._pause(pause * (0.5 + random.random()))  # noqa: S311 - no secret
            pause *= 2
        raise AssertionError("unreachable")
