"""Folders of files that belong to a store: the corpus, checkpoints. In a bucket they have a copy on each machine."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.store.local import LocalObjects
from orchestrator.store.objects import Objects


def workspace(objects: Objects, name: str) -> Path:
    """A new folder on this machine for what is made before it is put into the store."""
    folder = _home(objects) / "tmp" / f"{name}-{secrets.token_hex(8)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def put(objects: Objects, folder: Path, name: str) -> None:
    """Move a finished folder into the store; one that is there already has the same content."""
    if isinstance(objects, LocalObjects):
        target = objects.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, target)
        except OSError:
            if not target.exists():
                raise
            shutil.rmtree(folder)
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            objects.replace(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    shutil.rmtree(folder)


def fetch(objects: Objects, name: str, *, only: str | None = None) -> Path:
    """A folder of the store as files on this machine; from a bucket it is brought once and kept.

    Args:
        objects: The store's objects.
        name: Of the folder.
        only: A file of it that is enough: from a bucket the others are not brought.

    Raises:
        ObjectMissing: The one file is not there.
    """
    if isinstance(objects, LocalObjects):
        return objects.root / name
    target = _home(objects) / name
    if only is not None and not target.exists():
        target = _home(objects) / "parts" / name
    if not target.exists():
        partial = workspace(objects, "fetch")
        for key in [only] if only is not None else _below(objects, name):
            path = partial / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(objects.read(f"{name}/{key}"))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(partial, target)
        except OSError:  # another process brought it meanwhile
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _home(objects: Objects) -> Path:
    """Where the files of a store live on this machine."""
    if isinstance(objects, LocalObjects):
        return objects.root
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "isoflop" / hashlib.sha256(objects.location.encode()).hexdigest()[:16]


def _below(objects: Objects, name: str) -> Iterator[str]:
    """Keys of all objects below a folder whose files have a dot in their names, relative to it."""
    for entry in objects.names(name):
        if "." in entry:
            yield entry
        else:
            yield from (f"{entry}/{deeper}" for deeper in _below(objects, f"{name}/{entry}"))
