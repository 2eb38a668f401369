"""How much of a GPU each run gets under `resources.gpus: auto`, by the memory model of this project's trainer.

As many runs share a GPU as fit, each with one share of so many equal ones. A run that a whole GPU cannot hold begins
with as small a micro-batch as the model says. Where the model was wrong, the policy for runs out of memory goes on from
there (`orchestrator.failures`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.errors import CapacityError
from orchestrator.execution.launcher import Launcher
from orchestrator.sweep import Resources
from trainer import RunSpec
from trainer.memory import device_bytes, largest_micro_batch

MOST_TOGETHER = 16
"""Runs that share a GPU at most (chosen): beyond, they wait for each other and not for memory."""

RAY_UNITS = 10_000
"""Parts of a GPU that Ray counts in; shares are rounded down to one, so that all of them fit."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a run is given at first.

    Attributes:
        gpus: GPUs, which may be a fraction.
        micro_batch: Windows per forward pass, None for the whole batch.
    """

    gpus: float
    micro_batch: int | None = None


def share_of(spec: RunSpec, resources: Resources, gpu_memory: float | None) -> Share:
    """What a run is given: what the sweep says, or with `pack` the share that it needs of so much memory."""
    if not resources.pack:
        return Share(gpus=resources.gpus)
    assert gpu_memory is not None
    together = min(MOST_TOGETHER, int(gpu_memory / device_bytes(spec)))
    if together >= 1:
        return Share(gpus=math.floor(RAY_UNITS / together) / RAY_UNITS)
    return Share(gpus=1.0, micro_batch=largest_micro_batch(spec, gpu_memory) or 1)


def prepare(resources: Resources, launcher: Launcher, specs: Iterable[RunSpec]) -> float | None:
    """Find out how much memory a GPU has, and tell the launcher how many runs share one.

    Returns:
        Bytes of one GPU; None where nothing is packed.

    Raises:
        CapacityError: Neither the sweep nor a node tells.
    """
    if not resources.pack:
        return None
    gpu_memory = resources.gpu_memory or launcher.gpu_memory()
    if gpu_memory is None:
        raise CapacityError(
            "resources.gpus is auto, and no node tells how much memory its GPU has; expected a number of bytes. "
            "Set resources.gpu_memory, for example 24e9, or resources.gpus: 1."
        )
    shares = [share_of(spec, resources, gpu_memory).gpus for spec in specs]
    if shares:
        launcher.share_gpus(math.fsum(shares) / len(shares))
    return gpu_memory
