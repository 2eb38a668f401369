"""Runs a command so that nothing of it outlives whoever asked: `python guard.py FD PROGRAM ARGUMENT...`.

Stands between a worker and the command of a trainer. The worker holds the other end of the pipe FD; when the worker
dies, however it dies, the pipe closes and the command's whole process group is killed. SIGTERM is passed on to the
group. Ends as the command does: with its exit code, or 128 and the number of the signal that killed it.

It is started by its path and imports the standard library alone, so that it is there within milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

NOT_STARTED = 127
"""Exit code for a program that cannot be started, as a shell's."""


def main() -> int:
    """Run the command, and watch over it."""
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        process = subprocess.Popen(command, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - the attempt's log
        return NOT_STARTED
    while process.poll() is None:
        if asked:
            asked.clear()
            _signal(process.pid, signal.SIGTERM)
        ready, _, _ = select.select([pipe, wake], [], [])
        if pipe in ready:
            break  # nothing is ever written: the worker is gone
        os.read(wake, 64)
    _signal(process.pid, signal.SIGKILL)  # also what the command left behind
    code = process.wait()
    return code if code >= 0 else 128 - code


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
