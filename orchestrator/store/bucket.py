"""Objects in a bucket of S3, of what speaks its protocol, or of Google Cloud Storage, through fsspec.

Create-only is the service's own precondition: `If-None-Match: *` on S3, generation 0 on Google. A request whose answer
was lost may have been served, so an object that exists is compared with what was to be written before it counts as
somebody else's.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from orchestrator import failpoints
from orchestrator.errors import InfrastructureError, StoreError
from orchestrator.store.objects import WRITTEN_AT_ONCE, ObjectExists, ObjectMissing

SCHEMES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
"""Supported URLs, and the package that each needs."""

TRIES = 8
"""Tries of a request that the service did not serve, over half a minute: 503, 409, 429, a timeout (chosen)."""

FIRST_PAUSE_SECONDS = 0.25
"""Pause after the first failure; it doubles, with chance, so that many workers don't come back at once."""

FINAL = (errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENAMETOOLONG)
"""Errors that another try would meet again."""

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
        self._files, self._root = _file_system(self.location)
        self._errors = _errors_of(self.location)

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
        """See `Objects.exists`."""
        try:
            self._tried(key, lambda: self._files.info(self._path(key), refresh=True))
            return True
        except FileNotFoundError:
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
        return f"{self._root}/{key}" if key else self._root

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
            except self._errors as error:
                if _precondition_failed(error):
                    raise FileExistsError(key) from None
                if not left or _is_final(error):
                    raise InfrastructureError(
                        f"{self.location}/{key}: {error}; what was committed is safe. Check access and the service, "
                        "then repeat the command."
                    ) from error
            self._pause(pause * (0.5 + random.random()))  # noqa: S311 - no secret
            pause *= 2
        raise AssertionError("unreachable")


def _precondition_failed(error: BaseException) -> bool:
    """Whether a service says that the name is taken, in s3fs's words or gcsfs's."""
    if isinstance(error, FileExistsError):
        return True
    answer = getattr(error.__cause__ or error, "response", None) or {}
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return code in ("PreconditionFailed", "412") or getattr(error, "code", None) == 412


def _is_final(error: Exception) -> bool:
    """Whether another try would meet the same error."""
    no_access = isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError"
    return no_access or (isinstance(error, OSError) and error.errno in FINAL)


def _errors_of(url: str) -> tuple[type[Exception], ...]:
    """What a service's package raises where a request was not served."""
    if url.startswith("s3://"):
        from botocore.exceptions import BotoCoreError

        return (OSError, BotoCoreError)
    from aiohttp import ClientError

    return (OSError, ClientError)


def _file_system(url: str) -> tuple[Any, str]:
    """Fsspec's file system for a URL, and the path of the URL in it."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise StoreError(
            f"{url}: {scheme} is not supported; expected a path, s3:// or gs://. Use a folder that every node sees, or "
            "a bucket."
        )
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        options["config_kwargs"] = {"retries": {"max_attempts": 0}}  # tries are counted here, not in three layers
    try:
        import fsspec

        files, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise StoreError(
            f"{url}: {error}; expected the package {SCHEMES[scheme]}. Install it: pip install {SCHEMES[scheme]}"
        ) from None
    files.retries = 1
    return files, str(root).rstrip("/")
