"""Where a store lies: a folder, or a bucket that fsspec reads (`s3://...`, `gs://...`)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from analysis.errors import SourceError

ANSWER_SECONDS = 60.0
"""How long a service may be silent in a request (chosen: what clients of S3 wait)."""


class Place(Protocol):
    """Files below one folder, by names with slashes."""

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder of this name."""

    def names(self, folder: str) -> list[str]:
        """Names directly below a folder; empty where there is none."""

    def read(self, name: str) -> bytes:
        """A file's content; an OSError where it cannot be read."""


class Folder:
    """A place on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def exists(self, name: str) -> bool:
        """See `Place.exists`."""
        return (self.root / name).exists()

    def names(self, folder: str) -> list[str]:
        """See `Place.names`."""
        try:
            return os.listdir(self.root / folder)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        return (self.root / name).read_bytes()


class Bucket:
    """A place in a bucket."""

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = file_system(url)
        except (ImportError, ValueError) as error:
            raise SourceError(
                f"{url} cannot be opened: {error}. Install what reads it: pip install s3fs (s3://) or gcsfs (gs://)."
            ) from None
        self._url = url

    def __str__(self) -> str:
        return self._url

    def exists(self, name: str) -> bool:
        """See `Place.exists`."""
        return bool(self._asked(lambda: self._files.exists(f"{self._root}/{name}")))

    def names(self, folder: str) -> list[str]:
        """See `Place.names`."""
        path = f"{self._root}/{folder}"
        try:
            found = self._asked(lambda: self._files.ls(path, detail=False, refresh=True))
        except FileNotFoundError:
            return []
        return [name.rstrip("/").rpartition("/")[2] for name in found if name.rstrip("/") != path]

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        content: bytes = self._asked(lambda: self._files.cat_file(f"{self._root}/{name}"))
        return content

    def _asked(self, request: Callable[[], Any]) -> Any:
        """The answer to a request; what a service's package raises, if it is no OSError, comes as an error of ours."""
        try:
            return request()
        except OSError:
            raise
        except Exception as error:
            raise SourceError(
                f"{self._url}: {error}; expected a bucket that answers. Check its name, access and the service."
            ) from error


def file_system(url: str, **options: Any) -> tuple[Any, str]:
    """Fsspec's file system for a bucket's URL, and the path of the URL in it.

    What is read and written here is small and changes, so that nothing is listed from memory and a read is one request.

    Raises:
        ImportError: The package for such a URL is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme == "s3":
        options["max_concurrency"] = 1  # with more, every read asks for the object's size first
    elif scheme in ("gs", "gcs"):
        from aiohttp import ClientTimeout

        # Gcsfs's other class asks for a bucket's kind by another protocol, before every request where that is refused.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        logging.getLogger("gcsfs").addHandler(logging.NullHandler())  # it logs tracebacks of what it raises
        options["requests_timeout"] = ClientTimeout(sock_connect=ANSWER_SECONDS, sock_read=ANSWER_SECONDS)
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
    return found


def place_of(source: str | os.PathLike[str]) -> Place:
    """The place that a path or URL names."""
    text = os.fspath(source)
    return Bucket(text.rstrip("/")) if "://" in text else Folder(Path(text))
