"""A trainer that is a command: an argument list in, a JSON record out. `docs/bring-your-own-trainer.md` is its contract.

The command is started without a shell, in a process group of its own, with its output in the attempt's log. It learns
of its run by placeholders in its arguments and by environment variables, may tell how far it is in a progress file, and
leaves its result in a record file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.execution import guard, logs, records
from orchestrator.sweep import placeholders
from trainer import RunRecord, RunSpec, TrainerError, run_id, to_dict
from trainer.execution import Execution, Interrupted, Progress

POLL_SECONDS = 0.2
"""How often the command, its progress and a request to stop are looked at (chosen)."""

GRACE_SECONDS = 30.0
"""How long a command may take to write a checkpoint after SIGTERM, before it is killed (chosen: a spot notice's length)."""


class CommandFailed(TrainerError):  # noqa: N818 (what happened, said as one)
    """A command that ended without a result."""


class CommandKilled(Exception):  # noqa: N818 (an event: the host may have had no memory for it)
    """A command that something killed."""


def check(command: Sequence[str]) -> None:
    """Refuse a command that cannot be started here.

    Raises:
        SweepError: Its program is not there.
    """
    program = sys.executable if command[0] == "{python}" else command[0]
    if shutil.which(program) is None:
        raise SweepError(
            f"trainer command {program}: not found in {os.getcwd()} or on PATH; expected a program that every node "
            "has. Install it, or write {python} for the Python that runs isoflop."
        )


def train_by(command: Sequence[str]) -> Callable[[RunSpec, Execution], RunRecord]:
    """The function that trains a spec by a command."""

    def train(spec: RunSpec, execution: Execution) -> RunRecord:
        with _room(spec, execution) as values:
            started = time.monotonic()
            code = _run(_filled(command, values), values, execution)
            if code != 0:
                _raise_for(command[0], code, Path(values["record"]), execution, spec)
            return records.read(Path(values["record"]), spec, execution, seconds=time.monotonic() - started)

    return train


@contextmanager
def _room(spec: RunSpec, execution: Execution) -> Iterator[dict[str, str]]:
    """A folder for what passes between us and the command, and the values of all placeholders."""
    with tempfile.TemporaryDirectory(prefix="isoflop-run-") as folder:
        room = Path(folder)
        checkpoints = execution.checkpoints or room / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        (room / "spec.json").write_text(json.dumps(to_dict(spec), indent=1, allow_nan=False))
        values = dict(_flat(dataclasses.asdict(spec)))
        values |= {
            "spec": str(room / "spec.json"),
            "record": str(room / "record.json"),
            "progress": str(room / "progress.json"),
            "checkpoints": str(checkpoints),
            "corpus": str(execution.corpus),
            "python": sys.executable,
            "run_id": run_id(spec),
            "tokens": str(spec.tokens),
            "batch_tokens": str(spec.batch_tokens),
            "micro_batch": str(execution.micro_batch or spec.batch_contexts),
            "threads": str(execution.threads),
        }
        yield values


def _flat(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every value below a name with dots, text as it is and the rest as JSON."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _filled(command: Sequence[str], values: dict[str, str]) -> list[str]:
    """The command with its placeholders filled in.

    Raises:
        SweepError: One names nothing that this run has.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise SweepError(
                f"trainer command: {match[0]} is nothing that this run has; expected one of {', '.join(sorted(values))}. "
                "Correct it."
            )
        return values[match[1]]

    return [placeholders.PATTERN.sub(value, word) for word in command]


def _environment(values: dict[str, str]) -> dict[str, str]:
    ours = {f"ISOFLOP_{name.upper()}": values[name] for name in placeholders.PASSED}
    return os.environ | {"OMP_NUM_THREADS": values["threads"]} | ours


def _run(command: list[str], values: dict[str, str], execution: Execution) -> int:
    """Run a command to its end; returns its exit code.

    Raises:
        Interrupted: It was asked to stop, and did, or was killed after its grace.
    """
    theirs, ours = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(theirs), *command],
        env=_environment(values),
        stdin=subprocess.DEVNULL,
        stdout=logs.output(),
        stderr=logs.output(),
        pass_fds=[theirs],
        start_new_session=True,
    )
    os.close(theirs)
    try:
        return _watched(process, Path(values["progress"]), Path(values["record"]), execution)
    finally:
        os.close(ours)  # whatever still runs is killed by the guard
        process.wait()


def _watched(process: subprocess.Popen[bytes], progress: Path, record: Path, execution: Execution) -> int:
    seen = b""
    deadline: float | None = None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(POLL_SECONDS)
            if deadline is not None and not (code == 0 and record.exists()):
                raise Interrupted("the command was asked to stop")
            return code
        seen = _note(progress, seen, execution)
        if deadline is None and execution.should_stop():
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + GRACE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            raise Interrupted(f"the command was killed {GRACE_SECONDS:.0f} s after it was asked to stop")


def _note(path: Path, seen: bytes, execution: Execution) -> bytes:
    """Pass new progress on; what is torn or no progress is looked at again."""
    try:
        text = path.read_bytes()
        if text == seen:
            return seen
        found = json.loads(text)
        loss = found.get("train_loss")
        progress = Progress(
            step=int(found["step"]), steps=int(found["steps"]), train_loss=None if loss is None else float(loss)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return seen
    if progress.steps > 0:
        execution.on_progress(progress)
    return text


def _raise_for(program: str, code: int, record: Path, execution: Execution, spec: RunSpec) -> None:
    """Say why a command failed.

    Raises:
        DeviceOutOfMemory: Its record says so.
        CommandKilled: A signal that nobody here sent ended it.
        CommandFailed: Any other exit code.
    """
    records.raise_for_memory(record, spec, execution)
    if code < 0 or code == 128 + signal.SIGKILL:
        raise CommandKilled(f"{program} was killed (SIGKILL); the host may have had no memory left")
    if code == guard.NOT_STARTED:
        raise CommandFailed(f"{program} could not be started (exit code {code}); expected a program. The log says why.")
    how = f"was ended by {signal.Signals(code - 128).name}" if _is_signal(code) else f"ended with exit code {code}"
    raise CommandFailed(f"{program} {how}; expected 0 and a record. The attempt's log in the store holds its output.")


def _is_signal(code: int) -> bool:
    return code > 128 and code - 128 in {number.value for number in signal.Signals}
