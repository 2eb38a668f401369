"""What an attempt printed and logged, kept in the store beside its result: `logs/<run_id>/<attempt>.log`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import BinaryIO, cast

from orchestrator.execution.task import Task
from orchestrator.store import Store
from orchestrator.store.local import disk_failure

_open_log: ContextVar[int | None] = ContextVar("open_log", default=None)

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def kept_log(task: Task, store: Store, *, output: bool) -> Iterator[None]:
    """Keep what is logged while open; an attempt that says nothing leaves no log.

    Args:
        task: The attempt.
        store: Where the log goes: line by line into a folder, so that it outlasts a worker that dies; at the end into a
            bucket.
        output: Whether to take standard output and error, too; not where the driver itself shares the process.
    """
    key = f"logs/{task.run_id}/{task.attempt:04d}.log"
    with _opened(key, store) as file:
        try:
            with _current_file(file), _logging_to(file), _output_to(file if output else None):
                yield
        finally:
            empty = file.seek(0, os.SEEK_END) == 0
            if not empty and not store.is_folder:
                file.seek(0)
                store.objects.replace(key, file.read(), durable=False)
    if empty and store.is_folder:
        path = store.folder(key)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # an earlier attempt's log lies there
            path.parent.rmdir()


def output() -> int | None:
    """File descriptor of the log that is open, for processes of the attempt's own; None where none is open."""
    return _open_log.get()


@contextmanager
def _current_file(file: BinaryIO) -> Iterator[None]:
    token = _open_log.set(file.fileno())
    try:
        yield
    finally:
        _open_log.reset(token)


def _opened(key: str, store: Store) -> BinaryIO:
    if not store.is_folder:
        return cast("BinaryIO", tempfile.TemporaryFile("a+b"))
    path = store.folder(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+b")
    except OSError as error:
        raise disk_failure(path, error) from error


@contextmanager
def _logging_to(file: BinaryIO) -> Iterator[None]:
    root = logging.getLogger()
    with open(file.fileno(), "a", closefd=False, buffering=1, errors="replace") as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter(FORMAT))
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)
            handler.close()


@contextmanager
def _output_to(file: BinaryIO | None) -> Iterator[None]:
    """Point standard output and error at a file, for C libraries and child processes, too."""
    if file is None:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in enumerate(before, 1):
            os.dup2(saved, descriptor)
            os.close(saved)
