"""The JSON record that a command leaves: read, checked, and refused where it cannot be a run's result."""

from __future__ import annotations

import difflib
import json
import math
from pathlib import Path
from typing import Any

from trainer import CurvePoint, DeviceOutOfMemory, Numerics, RunRecord, RunSpec, TrainerError
from trainer.data.manifests import read_manifest
from trainer.execution import Execution

KEYS = (
    "status",
    "loss",
    "tokens",
    "loss_se",
    "bpb",
    "heldout_tokens",
    "curve",
    "unique_tokens",
    "seconds",
    "evaluation_seconds",
    "resumed_at_step",
    "device",
    "software",
    "reason",
    "micro_batch",
)
CURVE_KEYS = ("tokens", "train_loss", "lr")
STATUSES = ("ok", "diverged", "oom")


class RecordError(TrainerError):
    """A record that is missing, torn, or not the result of its run."""


def read(path: Path, spec: RunSpec, execution: Execution, *, seconds: float) -> RunRecord:
    """The record of a run.

    Args:
        path: Where the command was asked to write it.
        spec: What it was asked to train.
        execution: Where.
        seconds: Wall time of the command, for a record without its own.

    Raises:
        RecordError: It is missing, torn, has unknown or ill-typed keys, or contradicts the spec.
        DeviceOutOfMemory: It says so.
    """
    values = _load(path)
    raise_for_memory(path, spec, execution)
    status = values.get("status", "ok")
    ok = status == "ok"
    tokens = _number(values, "tokens", whole=True, needed=True)
    loss = _number(values, "loss", needed=ok)
    assert tokens is not None
    if ok and tokens != spec.tokens:
        raise RecordError(
            f"the record says {tokens:,} tokens; the run is of {spec.tokens:,}. Train exactly steps x batch_contexts x "
            "context tokens: the loss would stand at the wrong D."
        )
    micro_batch = execution.micro_batch or spec.batch_contexts
    return RunRecord(
        status="ok" if ok else "diverged",
        tokens=int(tokens),
        loss=loss if ok else None,
        loss_se=_number(values, "loss_se", least=0.0) if ok else None,
        bpb=_number(values, "bpb", least=0.0) if ok else None,
        heldout_tokens=int(_number(values, "heldout_tokens", whole=True) or 0),
        curve=_curve(values.get("curve", [])),
        unique_tokens=int(_number(values, "unique_tokens", whole=True, least=1) or _train_tokens(execution)),
        seconds=_number(values, "seconds", least=0.0) or seconds,
        evaluation_seconds=_number(values, "evaluation_seconds", least=0.0) or 0.0,
        resumed_at_step=int(_number(values, "resumed_at_step", whole=True, least=0) or 0),
        numerics=Numerics(
            device=_text(values, "device") or execution.device,
            torch=_text(values, "software") or "not stated",
            threads=execution.threads,
            micro_batch=micro_batch,
        ),
        reason=None if ok else _text(values, "reason") or "the command said so",
    )


def raise_for_memory(path: Path, spec: RunSpec, execution: Execution) -> None:
    """Raise where a record says that the device had no room.

    Raises:
        DeviceOutOfMemory: With the micro-batch that was asked for.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return
    if isinstance(values, dict) and values.get("status") == "oom":
        micro_batch = execution.micro_batch or spec.batch_contexts
        said = values.get("reason") or "the command said so"
        raise DeviceOutOfMemory(
            f"no memory for a micro-batch of {micro_batch} windows: {said}", micro_batch=micro_batch
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RecordError(
            "the command ended with exit code 0 and left no record; expected JSON at {record} (ISOFLOP_RECORD). "
            "Write it as the last thing."
        ) from None
    except ValueError as error:
        raise RecordError(
            f"the record is torn or no JSON ({error}); expected one object. Write it to another name, then rename it."
        ) from None
    if not isinstance(values, dict):
        raise RecordError(f"the record is {type(values).__name__}; expected one JSON object. Write an object.")
    for key in values:
        _refuse_unknown(key, KEYS, "the record")
    if values.get("status", "ok") not in STATUSES:
        raise RecordError(f"status is {values['status']!r}; expected one of {', '.join(STATUSES)}. Correct it.")
    return values


def _train_tokens(execution: Execution) -> int:
    """Distinct training tokens of the sweep's own corpus: what a command reads that says nothing else."""
    return read_manifest(execution.corpus).train_tokens


def _refuse_unknown(key: str, known: tuple[str, ...], where: str) -> None:
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f'Did you mean "{close[0]}"?' if close else f"Known are {', '.join(known)}."
        raise RecordError(f"{where} has an unknown key {key!r}; expected known ones. {hint}")


def _number(
    values: dict[str, Any], key: str, *, needed: bool = False, whole: bool = False, least: float | None = None
) -> float | int | None:
    """A finite number, None where it is not given."""
    value = values.get(key)
    if value is None and not needed:
        return None
    kind = "a whole number" if whole else "a number"
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RecordError(f"{key} is {value!r}; expected {kind}. Write it into the record.")
    if not math.isfinite(value):
        raise RecordError(f"{key} is {value}; expected a finite number. Where training diverged, say status: diverged.")
    if whole and int(value) != value:
        raise RecordError(f"{key} is {value}; expected a whole number. Round nothing: write the exact count.")
    if least is not None and value < least:
        raise RecordError(f"{key} is {value}; expected at least {least:g}. Correct it.")
    return value


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise RecordError(f"{key} is {value!r}; expected text. Put it in quotes.")
    return value


def _curve(points: Any) -> tuple[CurvePoint, ...]:
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise RecordError(f"curve is {type(points).__name__}; expected a list of objects with {', '.join(CURVE_KEYS)}.")
    found = []
    for point in points:
        for key in point:
            _refuse_unknown(key, CURVE_KEYS, "a point of the curve")
        tokens, loss, rate = (_number(point, key, needed=True) for key in CURVE_KEYS)
        assert tokens is not None
        assert loss is not None
        assert rate is not None
        found.append(CurvePoint(tokens=int(tokens), train_loss=loss, lr=rate))
    if [point.tokens for point in found] != sorted({point.tokens for point in found}):
        raise RecordError("the curve's tokens do not rise; expected each point once, in order. Sort them.")
    return tuple(found)
