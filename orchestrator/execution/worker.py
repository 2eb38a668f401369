"""What a worker does with a task: check the store, train, commit. It knows neither Ray nor Optuna."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import trainer
from orchestrator import failpoints
from orchestrator.clock import utc_now
from orchestrator.errors import InfrastructureError, SweepError
from orchestrator.execution import checkpoints, trunks
from orchestrator.execution.command import CommandKilled
from orchestrator.execution.heartbeat import Heartbeat
from orchestrator.execution.logs import kept_log
from orchestrator.execution.task import Ending, Outcome, Task
from orchestrator.execution.trainers import trainer_of
from orchestrator.store import ObjectExists, Store
from orchestrator.store.local import DISK_ERRORS, disk_failure
from orchestrator.version import code_version
from trainer.errors import DeviceOutOfMemory
from trainer.execution import Execution, Interrupted

FRAMES_KEPT = 12
"""Innermost frames of a traceback that are kept."""

_log = logging.getLogger(__name__)

_seen_stores: set[tuple[str, str]] = set()
"""Stores that this process has checked, with their nonce."""


def execute(task: Task, *, inline: bool = False) -> Outcome:
    """Make one attempt at a run, and commit its result.

    Args:
        task: The attempt.
        inline: Whether the driver shares this process: its terminal is left alone, and a signal is for both.
    """
    attempt = _Attempt(task, inline=inline)
    try:
        attempt.make()
    except Interrupted:
        if attempt.preempted.is_set() and not inline:
            attempt.ended("preempted", f"{socket.gethostname()} was told to terminate")
        else:
            attempt.ended("stopped", "the sweep was stopped")
    except DeviceOutOfMemory as error:
        attempt.ended("oom", str(error))
    except CommandKilled as error:
        attempt.ended("killed", str(error))
    except InfrastructureError as error:
        attempt.ended("storage", str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            attempt.ended("storage", str(disk_failure(f"{socket.gethostname()}, checkpoint", error)))
        else:
            attempt.ended("error", f"{type(error).__name__}: {error}".splitlines()[0], _frames(error))
    return attempt.outcome()


class _Attempt:
    """One attempt while it is made, and how it ended."""

    def __init__(self, task: Task, *, inline: bool) -> None:
        self._task = task
        self._inline = inline
        self._started = time.monotonic()
        self._heartbeat: Heartbeat | None = None
        self._ending: Ending = "error"
        self._reason: str | None = None
        self._traceback: str | None = None
        self._notes: tuple[str, ...] = ()
        self.preempted = threading.Event()

    def make(self) -> None:
        """Train and commit.

        Raises:
            Exception: Whatever ended the attempt; `execute` tells what it means.
        """
        failpoints.hit("attempt.start")
        store = Store(self._task.store)
        if store.requested(self._task.stop_request):
            return self.ended("withdrawn")
        if refusal := _refusal(self._task, store):
            return self.ended("refused", refusal)
        earlier = store.commit(self._task.run_id)
        if earlier is None:
            with kept_log(self._task, store, output=not self._inline), _logged_failure():
                record = self._train(store)
            failpoints.hit("attempt.before_commit")
            self._notes = _commit(self._task, store, record)
            ending, reason = record.status, record.reason
        else:  # this run's first copy was taken for dead, and was not
            ending, reason = earlier["row"]["status"], earlier["row"]["reason"]
        failpoints.hit("attempt.before_tidying")
        checkpoints.remove(self._task.run_id, store)
        return self.ended(ending, reason)

    def _train(self, store: Store) -> trainer.RunRecord:
        task = self._task
        train, spec = trainer_of(task.spec.get("trainer")), trainer.from_dict(task.spec)
        kept = checkpoints.Checkpoints(task, store)
        heartbeat = self._heartbeat = Heartbeat(task, store, also=kept.bring)
        with (
            _signals_noted(self.preempted, inline=self._inline),
            kept,
            heartbeat,
            trunks.shared_folder(task.trunk, store) as trunk,
        ):
            execution = Execution(
                corpus=store.fetch_folder(f"corpus/{task.corpus}"),
                checkpoints=kept.folder,
                checkpoint_seconds=task.checkpoint_seconds,
                trunk=trunk,
                threads=task.threads,
                device="cuda" if task.gpus else "cpu",
                gpus=task.gpus,
                micro_batch=task.micro_batch,
                compile=task.compile,
                should_stop=lambda: self.preempted.is_set() or heartbeat.stop_requested,
                on_progress=heartbeat.note,
            )
            return train(spec, execution)

    def ended(self, ending: Ending, reason: str | None = None, lines: str | None = None) -> None:
        """Note how the attempt ended."""
        self._ending, self._reason, self._traceback = ending, reason, lines

    def outcome(self) -> Outcome:
        """The attempt's end, for the driver."""
        return Outcome(
            run_id=self._task.run_id,
            attempt=self._task.attempt,
            ending=self._ending,
            reason=self._reason,
            traceback=self._traceback,
            seconds=time.monotonic() - self._started,
            flops_spent=self._heartbeat.flops_spent if self._heartbeat else 0.0,
            notes=self._notes,
        )


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
    try:
        trainer_of(task.spec.get("trainer"))
    except SweepError as error:
        return f"{host}: {error}"
    if task.compile:
        from trainer.compiling import check_compiler

        try:
            check_compiler("cuda" if task.gpus else "cpu")
        except trainer.CompilerError as error:
            return f"{host}: {error}"
    _seen_stores.add((task.store, task.nonce))
    return None


@contextmanager
def _signals_noted(noted: threading.Event, *, inline: bool) -> Iterator[None]:
    """Turn a signal into a request to write a checkpoint and stop.

    SIGTERM is the notice of a spot machine that goes away. Where the driver shares the process, Ctrl-C and SIGTERM are
    its own, and its handler hears them, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT) if inline else (signal.SIGTERM,)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, frame: Any) -> None:
        noted.set()
        handler = before[signal.Signals(number)]
        if inline and callable(handler):
            handler(number, frame)

    for number in numbers:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _logged_failure() -> Iterator[None]:
    """Put an unexpected exception into the attempt's log."""
    try:
        yield
    except (Interrupted, InfrastructureError):
        raise
    except Exception:
        _log.exception("the attempt failed")
        raise


def _frames(error: BaseException) -> str:
    """A traceback without the values of locals."""
    return "".join(traceback.format_exception(error, limit=-FRAMES_KEPT))


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
        name = store.add_contradiction(task.run_id, document)
        return (
            f"nondeterminism: run {task.run_id} gave loss {document['row']['loss']} after {first['row']['loss']} "
            f"under equal numerics; kept as {name}",
        )


def _document(task: Task, record: trainer.RunRecord) -> dict[str, Any]:
    per_token = task.row["flops"] / task.row["tokens"]
    spent_from = trainer.from_dict(task.spec).tokens_before(record.resumed_at_step)
    row = {
        "status": record.status,
        "reason": record.reason,
        "loss": record.loss,
        "loss_se": record.loss_se,
        "bpb": record.bpb,
        "heldout_tokens": record.heldout_tokens,
        "flops_spent": (record.tokens - spent_from) * per_token,
        "epochs": _epochs(task, record),
        "unique_tokens": record.unique_tokens,
        **_scores(record),
        "decayed": record.status == "ok",
        "seconds": record.seconds,
        "evaluation_seconds": record.evaluation_seconds,
        "numerics": record.numerics.signature,
        "host": socket.gethostname(),
        "finished_at": utc_now(),
    }
    curve = {
        "tokens": [point.tokens for point in record.curve],
        "flops": [point.tokens * per_token for point in record.curve],
        "train_loss": [point.train_loss for point in record.curve],
        "lr": [point.lr for point in record.curve],
        "heldout_loss": [point.heldout_loss for point in record.curve],
    }
    return {"row": task.row | row, "curve": curve, "spec": task.spec, "attempt": task.attempt}


def _epochs(task: Task, record: trainer.RunRecord) -> float:
    """Training tokens over distinct ones; of a mixture, those of the source that is read most often."""
    if task.row.get("mixture"):
        return float(task.row["epochs"] * record.tokens / task.row["tokens"])
    return record.tokens / record.unique_tokens


def _scores(record: trainer.RunRecord) -> dict[str, Any]:
    """What a run was asked beside its loss: by source, during training, and as a choice task."""
    best, probe = record.best, record.probe
    return {
        "losses": json.dumps([asdict(one) for one in record.sources]) if record.sources else None,
        "position_losses": json.dumps([asdict(one) for one in record.positions]) if record.positions else None,
        "best_loss": best and best.loss,
        "best_loss_se": best and best.loss_se,
        "best_tokens": best and best.tokens,
        "probe_questions": probe and probe.questions,
        "probe_accuracy": probe and probe.accuracy,
        "probe_accuracy_se": probe and probe.accuracy_se,
        "probe_log_prob": probe and probe.log_prob,
        "probe_log_prob_se": probe and probe.log_prob_se,
        "probe_brier": probe and probe.brier,
        "noise_scale": record.noise_scale,
    }
