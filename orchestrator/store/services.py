"""What differs between services of buckets: their packages, how their errors look, and who tries again."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from analysis.places import file_system
from orchestrator.errors import StoreError

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
"""Supported URLs, and the package that each needs."""

FINAL_ERRORS = (errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENAMETOOLONG)
"""Errors that another try would meet again."""

FINAL_STATUSES = (400, 401, 403, 404, 405)
"""HTTP statuses that another try would meet again."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service and the way to it.

    Attributes:
        files: Fsspec's file system.
        root: Path of the URL in it.
        errors: What is raised where a request was not served.
        was_tried_again: Whether the package itself has tried for half a minute before it raised this.
    """

    files: Any
    root: str
    errors: tuple[type[Exception], ...]
    was_tried_again: Callable[[Exception], bool] = lambda error: False

    def gives_up(self, error: Exception) -> bool:
        """Whether another try would meet the same error, or enough were made."""
        return is_final(error) or self.was_tried_again(error)


def service_of(url: str) -> Service:
    """The service that a URL names; it is not asked anything yet.

    Raises:
        StoreError: A URL of another kind, or its package is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme not in PACKAGES:
        raise StoreError(
            f"{url}: {scheme} is not supported; expected a path, s3:// or gs://. Use a folder that every node sees, or "
            "a bucket."
        )
    try:
        return _s3(url) if scheme == "s3" else _google(url)
    except ImportError as error:
        raise StoreError(
            f"{url}: {error}; expected the package {PACKAGES[scheme]}. Install it: pip install {PACKAGES[scheme]}"
        ) from None


def name_is_taken(error: BaseException) -> bool:
    """Whether a service says that its precondition failed, in s3fs's words or gcsfs's."""
    if isinstance(error, FileExistsError):
        return True
    answer = getattr(error.__cause__ or error, "response", None) or {}
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return code in ("PreconditionFailed", "412") or _status(error) == 412


def is_final(error: Exception) -> bool:
    """Whether another try would meet the same error."""
    if isinstance(error, PermissionError | ValueError) or type(error).__name__ == "NoCredentialsError":
        return True
    if isinstance(error, OSError) and (error.errno in FINAL_ERRORS or str(error).startswith("Forbidden")):
        return True
    return _status(error) in FINAL_STATUSES


def _status(error: BaseException) -> int | None:
    """HTTP status of an answer, where an error tells one."""
    said = str(getattr(error, "code", getattr(error, "status", None)))
    return int(said) if said.isdigit() else None


def _s3(url: str) -> Service:
    import s3fs  # noqa: F401 - absent, it is named
    from botocore.exceptions import BotoCoreError

    no_tries = {"retries": {"max_attempts": 0}}  # they are counted once, not in three layers
    files, root = file_system(url, config_kwargs=no_tries)
    files.retries = 1
    return Service(files=files, root=root.rstrip("/"), errors=(OSError, BotoCoreError))


def _google(url: str) -> Service:
    files, root = file_system(url)
    from aiohttp import ClientError
    from gcsfs.retry import ChecksumError, HttpError, is_retriable
    from google.auth.exceptions import GoogleAuthError

    errors = (OSError, ClientError, HttpError, ChecksumError, GoogleAuthError, ValueError)
    return Service(files=files, root=root.rstrip("/"), errors=errors, was_tried_again=is_retriable)
