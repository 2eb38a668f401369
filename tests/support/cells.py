"""Drivers in processes of their own, started in milliseconds by forking one process that has imported everything.

`CellServer` starts that process; `python cells.py` is it. A request is one JSON line, answered by two: the process id
of the driver when it starts, and how it ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

LIMIT_SECONDS = 60.0
"""A driver of six tiny runs that takes longer hangs."""

WARM = (
    "forked",
    "optuna",
    "orchestrator.execution.remote",
    "orchestrator.execution.worker",
    "orchestrator.running",
    "orchestrator.sweep.file",
    "pandas",
    "s3fs",
    "tiny_trainer",
    "trainer.data.corpus",
)
"""What a driver and a worker need: imported once, before any is forked."""

HERE = Path(__file__).resolve().parent


class CellServer:
    """Starts drivers, one at a time."""

    def __init__(self, **environment: str) -> None:
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "cells.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        )

    def __enter__(self) -> CellServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def start(self, **request: Any) -> int:
        """Start a driver; see `_drive` for what a request may say. Gives its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        pid: int = self._answer()["pid"]
        return pid

    def wait(self) -> dict[str, Any]:
        """How the driver ended: `code` (negative: a signal), `message`, `counts`."""
        return self._answer()

    def run(self, **request: Any) -> dict[str, Any]:
        """Start a driver and wait for its end."""
        self.start(**request)
        return self.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the cell server died")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    """Serve requests from stdin."""
    for name in WARM:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(readable)
            os.setsid()
            _child(request, writable)
        os.close(writable)
        print(json.dumps({"pid": pid}), file=answers, flush=True)
        status = _end_of(pid, time.monotonic() + LIMIT_SECONDS)
        said = _read_now(readable)
        if not request.get("outlive"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        answer = json.loads(said) if said else {"message": None, "counts": None}
        print(json.dumps(answer | {"code": os.waitstatus_to_exitcode(status)}), file=answers, flush=True)


def _end_of(pid: int, deadline: float) -> int:
    """Wait status of a driver; one that hangs is ended."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.005)


def _read_now(readable: int) -> str:
    """What is in a pipe; orphans may hold its other end open."""
    os.set_blocking(readable, False)
    try:
        return os.read(readable, 1 << 16).decode()
    except BlockingIOError:
        return ""
    finally:
        os.close(readable)


def _child(request: dict[str, Any], pipe: int) -> None:
    os.set_inheritable(pipe, False)
    answer: dict[str, Any] = {"message": None, "counts": None}
    code = 99
    try:
        code, answer = _drive(request)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        import traceback

        answer["message"] = traceback.format_exc()
    finally:
        os.write(pipe, (json.dumps(answer) + "\n").encode())
        os._exit(code)


def _drive(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Run a sweep.

    Args:
        request: `sweep` (a preset or file), `settings`, `store`; `faults`: failpoints of the driver; `workers`: use
            forked workers, with the failpoints of each by number; `outlive`: let them outlive the driver; `address`: use
            this Ray cluster; `options`: more of `running.Options`; `environment`: variables.
    """
    os.environ.update(request.get("environment", {}))
    from forked import ForkedLauncher

    from orchestrator import failpoints, load_sweep, run
    from orchestrator.errors import OrchestratorError
    from orchestrator.running import Options

    if "workers" in request:
        faults = {int(number): armed for number, armed in request["workers"].items()}
        launcher = ForkedLauncher(faults=faults, outlive=request.get("outlive", False))
        options = Options(launcher=launcher, **request.get("options", {}))
    else:
        address = request.get("address")
        options = Options(inline=address is None, address=address, **request.get("options", {}))
    sweep = load_sweep(request["sweep"], request["settings"])
    failpoints.arm(request.get("faults", ""))
    try:
        result = run(sweep, request["store"], options)
    except OrchestratorError as error:
        return error.exit_code, {"message": str(error), "counts": None}
    code = 130 if result.interrupted else 0
    return code, {"message": result.stopped, "counts": dict(result.counts)}


if __name__ == "__main__":
    main()
