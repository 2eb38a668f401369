"""A trainer that takes microseconds: a deterministic recurrence in place of a network, with real checkpoints.

It is named in a sweep file as `trainer: tiny_trainer:train`, the way in for anybody's own trainer.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from orchestrator import failpoints
from trainer import CurvePoint, DeviceOutOfMemory, Numerics, RunRecord, RunSpec, run_id
from trainer.execution import Execution, Interrupted, Progress
from trainer.memory import footprint

CHECKPOINT_STEPS = 4
"""Steps between checkpoints: the most that a fault may cost."""

WORK = "TINY_TRAINER_WORK"
"""Environment variable: a folder where every step of every attempt leaves one byte, by run."""

PAUSE = "TINY_TRAINER_PAUSE"
"""Environment variable: seconds that a step takes, for tests in which something happens meanwhile."""

GATE = "TINY_TRAINER_GATE"
"""Environment variable: a folder; a run stands still before its sixth step while its name, or `any`, is there."""

OFFSET = "TINY_TRAINER_OFFSET"
"""Environment variable: what is added to the loss, for a machine that computes something else than the others."""


def train(spec: RunSpec, execution: Execution) -> RunRecord:
    """Train a spec."""
    identity = run_id(spec)
    step, value, curve = _resume(execution.checkpoints, identity) or (0, 0.0, [])
    resumed_at = step
    work = Path(os.environ[WORK]) / identity if WORK in os.environ else None
    pause = float(os.environ.get(PAUSE, "0"))
    while step < spec.steps:
        execution.on_progress(Progress(step=step, steps=spec.steps, train_loss=value))
        failpoints.hit("train.step")
        _wait_at_gate(identity, step)
        digest = hashlib.sha256(f"{identity} {spec.seed} {step}".encode()).digest()
        value = 0.9 * value + int.from_bytes(digest[:4], "big") / 2**32
        step += 1
        curve.append([step * spec.batch_tokens, value])
        if work is not None:
            with work.open("ab") as file:
                file.write(b".")
        if pause:
            time.sleep(pause)
        stop = execution.should_stop()
        if stop or step % CHECKPOINT_STEPS == 0:
            _save(execution.checkpoints, identity, step, value, curve)
        if stop:
            execution.on_progress(Progress(step=step, steps=spec.steps, train_loss=value))
            raise Interrupted(f"asked to stop after step {step}")
    return _record(spec, execution, value, curve, resumed_at)


def train_without_reporting(spec: RunSpec) -> RunRecord:
    """The other form of a trainer: it takes the spec alone."""
    return train(spec, Execution(corpus=Path()))


def diverge(spec: RunSpec, execution: Execution) -> RunRecord:
    """A run that ends before its end, as a result."""
    record = train(spec, execution)
    return RunRecord(
        **{**vars(record), "status": "diverged", "loss": None, "loss_se": None, "bpb": None, "reason": "up"}
    )


def fail(spec: RunSpec, execution: Execution) -> RunRecord:
    """A bug whose message differs from run to run."""
    os.write(1, b"about to fail\n")
    raise ValueError(f"bug at width {spec.model.width}")


def need_small_batches(spec: RunSpec, execution: Execution) -> RunRecord:
    """Device memory holds one window."""
    windows = execution.micro_batch or spec.batch_contexts
    if windows > 1:
        raise DeviceOutOfMemory(f"no room for {windows} windows", micro_batch=windows)
    return train(spec, execution)


def say_gpus(spec: RunSpec, execution: Execution) -> RunRecord:
    """What it was given of a GPU goes into its record."""
    record = train(spec, execution)
    numerics = replace(record.numerics, device=f"{execution.device} {execution.gpus:g}")
    return replace(record, numerics=numerics)


def need_a_whole_gpu(spec: RunSpec, execution: Execution) -> RunRecord:
    """Device memory holds a window, and that only where nobody else is on the GPU."""
    windows = execution.micro_batch or spec.batch_contexts
    if windows > 1 or execution.gpus < 1:
        raise DeviceOutOfMemory(f"no room for {windows} windows on {execution.gpus:g} GPU", micro_batch=windows)
    return say_gpus(spec, execution)


def never_fit(spec: RunSpec, execution: Execution) -> RunRecord:
    """No device is large enough."""
    windows = execution.micro_batch or spec.batch_contexts
    needed = footprint(spec, windows).total
    raise DeviceOutOfMemory(f"needs about {needed / 1e6:.2g} MB", micro_batch=windows, needed_bytes=needed)


def linger(spec: RunSpec, execution: Execution) -> RunRecord:
    """A run that goes on until it is told to stop."""
    while not execution.should_stop():
        time.sleep(0.005)
    raise Interrupted("told to stop")


def die(spec: RunSpec, execution: Execution) -> RunRecord:
    """A run that ends its worker process."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def return_nonsense(spec: RunSpec, execution: Execution) -> float:
    """No record."""
    return 1.0


def fill_the_disk(spec: RunSpec, execution: Execution) -> RunRecord:
    """A checkpoint that finds no space."""
    raise OSError(28, "No space left on device")


def _wait_at_gate(identity: str, step: int) -> None:
    gate = os.environ.get(GATE)
    while gate and step > CHECKPOINT_STEPS and any(Path(gate, name).exists() for name in (identity, "any")):
        time.sleep(0.02)


def _save(folder: Path | None, identity: str, step: int, value: float, curve: list[list[float]]) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"run": identity, "step": step, "value": value, "curve": curve})
    path = folder / f"step-{step:012d}.safetensors"
    temporary = folder / f".{path.name}.{os.getpid()}"
    with temporary.open("w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        failpoints.hit("checkpoint.middle")
        file.write(text[len(text) // 2 :])
    temporary.replace(path)
    failpoints.hit("checkpoint.after")
    for old in sorted(folder.glob("step-*"))[:-2]:
        old.unlink(missing_ok=True)


def _resume(folder: Path | None, identity: str) -> tuple[int, float, list[list[float]]] | None:
    for path in sorted(folder.glob("step-*"), reverse=True) if folder and folder.exists() else []:
        try:
            found = json.loads(path.read_text())
        except ValueError:
            continue
        assert found["run"] == identity
        return found["step"], found["value"], found["curve"]
    return None


def _record(spec: RunSpec, execution: Execution, value: float, curve: list[list[float]], resumed_at: int) -> RunRecord:
    return RunRecord(
        status="ok",
        tokens=spec.tokens,
        loss=value + 2.0 + float(os.environ.get(OFFSET, "0")),
        loss_se=0.01,
        bpb=(value + 2.0) / 0.6931471805599453,
        heldout_tokens=spec.data.heldout_tokens,
        curve=tuple(CurvePoint(tokens=int(tokens), train_loss=loss, lr=0.1) for tokens, loss in curve),
        unique_tokens=100_000,
        seconds=1e-3 * spec.steps,
        evaluation_seconds=1e-4,
        resumed_at_step=resumed_at,
        numerics=Numerics(device="tiny", torch="none", threads=1, micro_batch=execution.micro_batch or 0),
    )
