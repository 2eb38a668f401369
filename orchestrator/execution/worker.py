"""What a worker does with a task: check the store, train, commit. It knows neither Ray nor Optuna."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import trainer
from orchestrator.execution.task import Outcome, Task
from orchestrator.store import ObjectExists, Store
from orchestrator.version import code_version
from trainer.errors import DeviceOutOfMemory
from trainer.execution import Execution, Interrupted

_seen_stores: set[tuple[str, str]] = set()
"""Stores that this process has checked, with their nonce."""


def execute(task: Task) -> Outcome:
    """Make one attempt at a run, and commit its result."""
    started = time.monotonic()
    progress = _Progress()

    def ended(ending: Any, reason: str | None = None, **rest: Any) -> Outcome:
        return Outcome(
            run_id=task.run_id,
            attempt=task.attempt,
            ending=ending,
            reason=reason,
            seconds=time.monotonic() - started,
            flops_spent=progress.share_done * task.row["flops"],
            **rest,
        )

    try:
        store = Store(task.store)
        if refusal := _refusal(task, store):
            return ended("refused", refusal)
        earlier = store.commit(task.run_id)
        if earlier is not None:
            return ended(earlier["row"]["status"], earlier["row"]["reason"])
        with _sigterm_noted() as preempted:
            record = trainer.train(trainer.from_dict(task.spec), _execution(task, store, preempted, progress))
        notes = _commit(task, store, record)
        _remove_checkpoints(task, store)
        return ended(record.status, record.reason, notes=notes)
    except Interrupted:
        if preempted.is_set():
            return ended("preempted", f"{socket.gethostname()} was told to terminate")
        return ended("stopped", "the sweep was stopped")
    except DeviceOutOfMemory as error:
        return ended("oom", str(error))
    except Exception as error:
        lines = traceback.format_exception(error, limit=-12)
        return ended("error", f"{type(error).__name__}: {error}".splitlines()[0], traceback="".join(lines))


class _Progress:
    """How far an attempt is, for what it cost if it does not end well."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.share_done = 0.0

    def note(self, progress: Any) -> None:
        if self.first is None:
            self.first = progress.step
        self.share_done = (progress.step - self.first) / progress.steps


def _refusal(task: Task, store: Store) -> str | None:
    """Why this worker cannot serve the store, None where it can."""
    if (task.store, task.nonce) in _seen_stores:
        return None
    host = socket.gethostname()
    if not store.exists() or store.header()["nonce"] != task.nonce:
        return (
            f"{host} does not see the store {task.store}; expected a place that every node shares. Use a shared mount."
        )
    version = code_version()
    if version != task.version:
        return (
            f"{host} runs isoflop {version}, the driver {task.version}; expected the same code. "
            "Install it on every node."
        )
    _seen_stores.add((task.store, task.nonce))
    return None


def _execution(task: Task, store: Store, preempted: threading.Event, progress: _Progress) -> Execution:
    return Execution(
        corpus=store.folder(f"corpus/{task.corpus}"),
        checkpoints=store.folder(f"checkpoints/{task.run_id}"),
        checkpoint_seconds=task.checkpoint_seconds,
        threads=task.threads,
        device="cuda" if task.gpus else "cpu",
        micro_batch=task.micro_batch,
        should_stop=lambda: preempted.is_set() or store.requested(task.stop_request),
        on_progress=progress.note,
    )


@contextmanager
def _sigterm_noted() -> Iterator[threading.Event]:
    """Turn a SIGTERM notice (a spot machine going away) into a request to write a checkpoint and stop."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.set())
    try:
        yield noted
    finally:
        signal.signal(signal.SIGTERM, before)


def _commit(task: Task, store: Store, record: trainer.RunRecord) -> tuple[str, ...]:
    """Commit a result; where another copy was first, compare with it and keep a difference."""
    document = _document(task, record)
    try:
        store.add_commit(task.run_id, document)
        return ()
    except ObjectExists:
        first = store.commit(task.run_id)
        assert first is not None
        same_numerics = first["row"]["numerics"] == document["row"]["numerics"]
        if first["row"]["loss"] == document["row"]["loss"] or not same_numerics:
            return ()
        name = f"nondeterminism/{task.run_id}-{os.getpid()}-{time.time_ns()}.json"
        store.objects.create(name, json.dumps({"format": 1, "run_id": task.run_id} | document).encode())
        return (
            f"nondeterminism: run {task.run_id} gave loss {document['row']['loss']} after {first['row']['loss']} "
            f"under equal numerics; kept as {name}",
        )


def _document(task: Task, record: trainer.RunRecord) -> dict[str, Any]:
    per_token = task.row["flops"] / task.row["tokens"]
    spent_from = record.resumed_at_step * task.row["batch_tokens"]
    row = {
        "status": record.status,
        "reason": record.reason,
        "loss": record.loss,
        "loss_se": record.loss_se,
        "bpb": record.bpb,
        "heldout_tokens": record.heldout_tokens,
        "flops_spent": (record.tokens - spent_from) * per_token,
        "epochs": record.tokens / record.unique_tokens,
        "decayed": record.status == "ok",
        "seconds": record.seconds,
        "evaluation_seconds": record.evaluation_seconds,
        "numerics": record.numerics.signature,
        "host": socket.gethostname(),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    curve = {
        "tokens": [point.tokens for point in record.curve],
        "flops": [point.tokens * per_token for point in record.curve],
        "train_loss": [point.train_loss for point in record.curve],
        "lr": [point.lr for point in record.curve],
    }
    return {"row": task.row | row, "curve": curve, "spec": task.spec, "attempt": task.attempt}


def _remove_checkpoints(task: Task, store: Store) -> None:
    import shutil

    shutil.rmtree(store.folder(f"checkpoints/{task.run_id}"), ignore_errors=True)
