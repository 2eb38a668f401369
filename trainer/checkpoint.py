"""Checkpoints: one safetensors file each, written whole or not at all, that knows its run and its own digest."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trainer.errors import CheckpointError

KEEP = 2
"""Newest checkpoints kept: a torn one still leaves the one before."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """State between two steps.

    Attributes:
        run_id: Run that it belongs to, or trunk.
        signature: Numerics that made it; another signature would not continue it bit for bit.
        step: Steps done.
        tensors: Parameters and optimiser state by name.
        values: The rest of the state, JSON-ready.
    """

    run_id: str
    signature: str
    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]


def write(folder: Path, checkpoint: Checkpoint, *, keep: int | None = KEEP) -> Path:
    """Write a checkpoint atomically and remove all but the newest `keep`; None keeps all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    state = {
        "run_id": checkpoint.run_id,
        "signature": checkpoint.signature,
        "step": checkpoint.step,
        "values": checkpoint.values,
        "digest": _digest(tensors),
    }
    path = folder / name_of(checkpoint.step)
    temporary = folder / f".{path.name}.{os.getpid()}"
    with temporary.open("wb") as file:
        file.write(save(tensors, metadata={"checkpoint": json.dumps(state)}))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(folder)
    for old in sorted(folder.glob("step-*.safetensors"))[:-keep] if keep else ():
        old.unlink(missing_ok=True)
    return path


def name_of(step: int) -> str:
    """Name of the file that holds the state after `step` steps; names sort as steps do."""
    return f"step-{step:012d}.safetensors"


def newest(folder: Path, *, run_id: str, signature: str, until: int | None = None) -> Checkpoint | None:
    """The newest checkpoint that is sound and was made under these numerics; torn ones are passed over.

    Args:
        folder: Where to look.
        run_id: Run, or trunk, that it must belong to.
        signature: Numerics that it must have been made under.
        until: Latest step that it may be of.

    Raises:
        CheckpointError: The folder holds a checkpoint of another run.
    """
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        if until is not None and path.name > name_of(until):
            continue
        try:
            found = read(path)
        except CheckpointError as error:
            _log.warning("passed over: %s", error)
            continue
        if found.run_id != run_id:
            raise CheckpointError(
                f"{path} belongs to run {found.run_id}; expected {run_id}. "
                "Give every run a checkpoint folder of its own."
            )
        if found.signature == signature:
            return found
        _log.warning("passed over: %s was made under %r, this is %r", path, found.signature, signature)
    return None


def read(path: Path) -> Checkpoint:
    """Read one checkpoint and check its digest.

    Raises:
        CheckpointError: It is torn or no checkpoint of this trainer.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["checkpoint"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if _digest(tensors) == state["digest"]:
            return Checkpoint(tensors=tensors, **{key: state[key] for key in ("run_id", "signature", "step", "values")})
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(f"{path} is torn ({error}); expected a checkpoint. Delete it.") from None
    raise CheckpointError(f"{path} is torn: its tensors do not match their digest. Delete it.")


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
