"""Checkpoints in the store, apart by attempt: two copies of a run, after a partition, never write the same file.

An attempt begins with what earlier ones left: the trainer takes the newest that is sound. All go when the run is
committed. The trainer writes into a folder, files or folders of files; for a bucket that folder is local, and what is
new or was replaced is brought there at every beat. Names that begin with a dot are the trainer's own business.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType

from orchestrator.execution.task import Task
from orchestrator.store import ObjectMissing, Store

BROUGHT = 2
"""Newest checkpoints of earlier attempts that are brought from a bucket: a torn one still leaves the one before."""


Signature = tuple[int, int, int]
"""What tells a file from the one that replaces it: inode, time of its last change, and bytes."""


class Checkpoints:
    """The folder of one attempt's checkpoints, while it is open.

    Attributes:
        folder: Where the trainer reads and writes them.
    """

    def __init__(self, task: Task, store: Store) -> None:
        self._store = store
        self._below = folder_of(task.run_id)
        self._mine = f"{task.lease:06d}-{task.attempt:04d}"
        self._in_store: dict[str, Signature] = {}
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
        here = _files(self.folder)
        for name in sorted(name for name, signature in here.items() if self._in_store.get(name) != signature):
            self._store.objects.replace(f"{self._below}/{self._mine}/{name}", (self.folder / name).read_bytes())
        for name in self._in_store.keys() - here.keys():
            self._store.objects.delete(f"{self._below}/{self._mine}/{name}")
        self._in_store = here

    def _link(self, attempt: str) -> None:
        """Give the checkpoints of an earlier attempt a name in this one's folder."""
        for path in self._store.folder(f"{self._below}/{attempt}").iterdir():
            if attempt == self._mine or path.name.startswith("."):
                continue
            self.folder.mkdir(exist_ok=True)
            if path.is_dir():
                for name in _files(path):
                    (self.folder / path.name / name).parent.mkdir(parents=True, exist_ok=True)
                    _link(path / name, self.folder / path.name / name)
            else:
                _link(path, self.folder / path.name)

    def _fetch(self, attempt: str) -> None:
        for name in self._store.objects.names(f"{self._below}/{attempt}")[-BROUGHT:]:
            if not (self.folder / name).exists():
                self._fetch_below(f"{self._below}/{attempt}", name)
        if attempt == self._mine:
            self._in_store = _files(self.folder)

    def _fetch_below(self, prefix: str, name: str) -> None:
        """Bring a file, or a folder of files."""
        try:
            data = self._store.objects.read(f"{prefix}/{name}")
        except ObjectMissing:
            for inner in self._store.objects.names(f"{prefix}/{name}"):
                self._fetch_below(prefix, f"{name}/{inner}")
            return
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data)


def _files(folder: Path) -> dict[str, Signature]:
    """Path below a folder, and state, of every file whose path has no name that begins with a dot."""
    found: dict[str, Signature] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            with contextlib.suppress(FileNotFoundError):  # the trainer removes old ones meanwhile
                state = path.stat()
                if stat.S_ISREG(state.st_mode):
                    found[name.as_posix()] = (state.st_ino, state.st_mtime_ns, state.st_size)
    return found


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
