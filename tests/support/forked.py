"""A launcher whose workers are forked processes: as Ray's are, they can be killed one by one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Collection, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from orchestrator import failpoints
from orchestrator.execution.remote import execute_remotely
from orchestrator.execution.task import Ending, Outcome, Task


class ForkedLauncher:
    """A `Launcher` with two workers, each attempt in a process of its own."""

    def __init__(self, *, workers: int = 2, faults: Mapping[int, str] | None = None, outlive: bool = False) -> None:
        """Prepare.

        Args:
            workers: Processes at once.
            faults: Failpoints to arm in the worker of the n-th task, from 0; workers do not inherit the driver's.
            outlive: Whether workers go on when this process dies, as those behind a network partition do.
        """
        self._context = multiprocessing.get_context("fork")
        self._workers = workers
        self._faults = dict(faults or {})
        self._outlive = outlive
        self._queue: list[tuple[int, Task]] = []
        self._running: dict[Connection, tuple[Task, BaseProcess]] = {}
        self._killed: dict[str, Outcome] = {}
        self._taken_back: list[Outcome] = []
        self._submitted = 0

    def slots(self) -> int:
        return self._workers

    def submit(self, task: Task) -> None:
        self._queue.append((self._submitted, task))
        self._submitted += 1
        self._fill()

    def wait(self, timeout: float) -> list[Outcome]:
        outcomes, self._taken_back = self._taken_back, []
        ready = wait(list(self._running), 0 if outcomes else timeout) if self._running else []
        outcomes += [self._outcome(connection) for connection in ready if isinstance(connection, Connection)]
        self._fill()
        return outcomes

    def has_room(self, task: Task) -> bool:
        return False

    def gone(self) -> Collection[str]:
        return ()

    def kill(self, run_id: str, *, ending: Ending = "killed", reason: str = "it was killed") -> None:
        for entry in [entry for entry in self._queue if entry[1].run_id == run_id]:
            self._queue.remove(entry)
            self._taken_back.append(Outcome(run_id=run_id, attempt=entry[1].attempt, ending=ending, reason=reason))
        for task, process in self._running.values():
            if task.run_id == run_id and process.pid is not None:
                self._killed[run_id] = Outcome(run_id=run_id, attempt=task.attempt, ending=ending, reason=reason)
                os.kill(process.pid, signal.SIGKILL)

    def gpu_memory(self) -> int | None:
        return None

    def share_gpus(self, gpus: float) -> None:
        pass

    def close(self) -> None:
        for _, process in self._running.values():
            process.kill()
            process.join()

    def pids(self) -> list[int]:
        return [process.pid for _, process in self._running.values() if process.pid is not None]

    def _fill(self) -> None:
        while self._queue and len(self._running) < self._workers:
            number, task = self._queue.pop(0)
            ours, theirs = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=_work, args=(task, theirs, self._faults.get(number, ""), None if self._outlive else os.getpid())
            )
            process.start()
            theirs.close()
            self._running[ours] = (task, process)

    def _outcome(self, connection: Connection) -> Outcome:
        task, process = self._running.pop(connection)
        try:
            outcome: Outcome = connection.recv()
            self._killed.pop(task.run_id, None)
        except EOFError:
            died = Outcome(run_id=task.run_id, attempt=task.attempt, ending="killed", reason="the worker died")
            outcome = self._killed.pop(task.run_id, died)
        connection.close()
        process.join()
        return outcome


def _work(task: Task, answer: Connection, faults: str, parent: int | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    failpoints.arm(faults)
    if parent is not None:
        _die_with(parent)
    answer.send(execute_remotely(task))
    answer.close()


def _die_with(parent: int) -> None:
    """End when the parent does, as Ray's workers do within a third of a second."""
    import threading

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
