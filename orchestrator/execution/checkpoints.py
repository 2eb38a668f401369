"""Checkpoints in the store, apart by attempt: two copies of a run, after a partition, never write the same file.

An attempt begins with what earlier ones left: the trainer takes the newest that is sound. All go when the run is
committed. The trainer writes into a folder; for a bucket that folder is local, and new files are brought there at every
beat.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from orchestrator.execution.task import Task
from orchestrator.store import ObjectMissing, Store

BROUGHT = 2
"""Newest checkpoints of earlier attempts that are brought from a bucket: a torn one still leaves the one before."""


class Checkpoints:
    """The folder of one attempt's checkpoints, while it is open.

    Attributes:
        folder: Where the trainer reads and writes them.
    """

    def __init__(self, task: Task, store: Store) -> None:
        self._store = store
        self._below = folder_of(task.run_id)
        self._mine = f"{task.lease:06d}-{task.attempt:04d}"
        self._in_store: set[str] = set()
        self._local: tempfile.TemporaryDirectory[str] | None = None
        if store.is_folder:
            self.folder = store.folder(self._below) / self._mine
        else:
            self._local = tempfile.TemporaryDirectory(prefix="isoflop-checkpoints-")
            self.folder = Path(self._local.name)

    def __enter__(self) -> Checkpoints:
        earlier = [name for name in self._store.objects.names(self._below) if name <= self._mine]
        for attempt in sorted(earlier, reverse=True):
            if self._store.is_folder:
                self._link(attempt)
            else:
                self._fetch(attempt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.bring()
        if self._local is not None:
            self._local.cleanup()

    def bring(self) -> None:
        """Bring new checkpoints to a bucket, and remove there what the trainer removed here."""
        if self._store.is_folder:
            return
        here = {path.name for path in self.folder.iterdir() if not path.name.startswith(".")}
        for name in sorted(here - self._in_store):
            self._store.objects.replace(f"{self._below}/{self._mine}/{name}", (self.folder / name).read_bytes())
        for name in self._in_store - here:
            self._store.objects.delete(f"{self._below}/{self._mine}/{name}")
        self._in_store = here

    def _link(self, attempt: str) -> None:
        """Give the checkpoints of an earlier attempt a name in this one's folder."""
        for path in self._store.folder(f"{self._below}/{attempt}").iterdir():
            if attempt == self._mine or path.name.startswith("."):
                continue
            self.folder.mkdir(exist_ok=True)
            _link(path, self.folder / path.name)

    def _fetch(self, attempt: str) -> None:
        for name in self._store.objects.names(f"{self._below}/{attempt}")[-BROUGHT:]:
            path = self.folder / name
            try:
                if not path.exists():
                    path.write_bytes(self._store.objects.read(f"{self._below}/{attempt}/{name}"))
            except ObjectMissing:
                continue
            if attempt == self._mine:
                self._in_store.add(name)


def folder_of(run_id: str) -> str:
    """Where all attempts of a run keep their checkpoints, below the store."""
    return f"checkpoints/{run_id}"


def remove(run_id: str, store: Store) -> None:
    """Remove the checkpoints of every attempt of a run."""
    store.objects.delete_folder(folder_of(run_id))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # no hard links here
        shutil.copyfile(source, target)
