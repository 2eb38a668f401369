"""Where a store lies: a folder, or a bucket that fsspec reads (`s3://...`, `gs://...`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from analysis.errors import SourceError


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
            import fsspec

            found: tuple[Any, str] = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise SourceError(
                f"{url} cannot be opened: {error}. Install what reads it: pip install s3fs (s3://) or gcsfs (gs://)."
            ) from None
        self._url = url
        self._files, self._root = found

    def __str__(self) -> str:
        return self._url

    def exists(self, name: str) -> bool:
        """See `Place.exists`."""
        return bool(self._files.exists(f"{self._root}/{name}"))

    def names(self, folder: str) -> list[str]:
        """See `Place.names`."""
        path = f"{self._root}/{folder}"
        try:
            found = self._files.ls(path, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return [name.rstrip("/").rpartition("/")[2] for name in found if name.rstrip("/") != path]

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content


def place_of(source: str | os.PathLike[str]) -> Place:
    """The place that a path or URL names."""
    text = os.fspath(source)
    return Bucket(text.rstrip("/")) if "://" in text else Folder(Path(text))
