"""Checkpoints in the store, apart by attempt: two copies of a run, after a partition, never write the same file.

An attempt begins with what earlier ones left: the trainer takes the newest that is sound. All go when the run is
committed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestrator.execution.task import Task
from orchestrator.store import Store


def folder_of(run_id: str) -> str:
    """Where all attempts of a run keep their checkpoints, below the store."""
    return f"checkpoints/{run_id}"


def open_folder(task: Task, store: Store) -> Path:
    """The folder of an attempt, with the checkpoints of earlier ones linked into it, the latest first."""
    mine = store.folder(folder_of(task.run_id)) / f"{task.lease:06d}-{task.attempt:04d}"
    earlier = [path for path in mine.parent.glob("*") if path.name < mine.name] if mine.parent.exists() else []
    for attempt in sorted(earlier, reverse=True):
        for path in attempt.iterdir():
            if not path.name.startswith("."):
                _link(path, mine / path.name)
    return mine


def remove(run_id: str, store: Store) -> None:
    """Remove the checkpoints of every attempt of a run."""
    store.objects.delete_folder(folder_of(run_id))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # no hard links here
        shutil.copyfile(source, target)
