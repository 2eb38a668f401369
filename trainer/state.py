"""What a run carries from step to step, and how it is kept and found again."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer import checkpoint, optimizers
from trainer.checkpoint import Checkpoint
from trainer.execution import Execution
from trainer.identity import run_id
from trainer.models.networks import initialize
from trainer.noise import Look
from trainer.record import Best, CurvePoint, Numerics
from trainer.spec import RunSpec
from trainer.trunk import branch_step, trunk_id


@dataclass(kw_only=True)
class State:
    """What a run carries from step to step; a checkpoint holds all of it.

    Attributes:
        parameters: All parameters.
        optimizer: The optimiser's state, tensors by name.
        step: Steps done.
        smoothed: Training loss averaged over about the last tenth of the steps, nats per token.
        start: Loss of the first step.
        strikes: Checks in a row that found `smoothed` above `start`.
        curve: Training curve so far.
        best: The best evaluation during training so far.
        noise: Measurements of the gradient noise so far.
        looking_seconds: Time that evaluations during this attempt took.
        unread: Losses of the latest steps, still on the device.
    """

    parameters: Tensor
    optimizer: dict[str, Tensor]
    step: int = 0
    smoothed: float = math.nan
    start: float = math.nan
    strikes: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    best: Best | None = None
    noise: list[Look] = field(default_factory=list)
    looking_seconds: float = 0.0
    unread: list[Tensor] = field(default_factory=list)


def start(spec: RunSpec, device: str) -> State:
    """The state before the first step."""
    parameters = initialize(spec.model, spec.parametrization, spec.seed).to(device)
    return State(parameters=parameters, optimizer=optimizers.start(spec, parameters))


def save(
    folder: Path | None, identity: str, state: State, numerics: Numerics, keep: int | None = checkpoint.KEEP
) -> None:
    """Keep a state in a folder, under the identity of its run or trunk; None keeps nothing.

    Args:
        folder: Where to.
        identity: Of the run, or of the trunk that it shares.
        state: The state, its losses read.
        numerics: What made it.
        keep: Newest states that stay; None for all.
    """
    if folder is None:
        return
    values: dict[str, Any] = {
        "smoothed": state.smoothed.hex(),
        "start": state.start.hex(),
        "strikes": state.strikes,
        "curve": [asdict(point) for point in state.curve],
        "best": None if state.best is None else asdict(state.best),
        "noise": [asdict(look) for look in state.noise],
    }
    tensors = {"parameters": state.parameters, **state.optimizer}
    checkpoint.write(
        folder,
        Checkpoint(run_id=identity, signature=numerics.signature, step=state.step, tensors=tensors, values=values),
        keep=keep,
    )


def resume(spec: RunSpec, execution: Execution, numerics: Numerics) -> State | None:
    """The latest state to go on from, None for none.

    Raises:
        CheckpointError: A folder belongs to another run.
    """
    found = _latest(spec, execution, numerics.signature)
    if found is None:
        return None
    tensors = {name: tensor.to(execution.device) for name, tensor in found.tensors.items()}
    return State(
        parameters=tensors.pop("parameters"),
        optimizer=tensors,
        step=found.step,
        smoothed=float.fromhex(found.values["smoothed"]),
        start=float.fromhex(found.values["start"]),
        strikes=found.values["strikes"],
        curve=[CurvePoint(**point) for point in found.values["curve"]],
        best=Best(**found.values["best"]) if found.values["best"] else None,
        noise=[Look(**look) for look in found.values.get("noise", [])],
    )


def _latest(spec: RunSpec, execution: Execution, signature: str) -> Checkpoint | None:
    """The latest state of this run, left by itself or by another of its trunk."""
    found = []
    if execution.checkpoints is not None:
        found.append(checkpoint.newest(execution.checkpoints, run_id=run_id(spec), signature=signature))
    if execution.trunk is not None:
        shared, fork = execution.trunk, branch_step(spec)
        found.append(checkpoint.newest(shared, run_id=trunk_id(spec), signature=signature, until=fork))
    return max((each for each in found if each is not None), key=lambda each: each.step, default=None)
