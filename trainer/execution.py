"""How and where a run is executed: nothing here may change its result beyond what `Numerics` names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Interrupted(Exception):  # noqa: N818 (an event, no error)
    """The run was asked to stop before its end; its checkpoint, if it has a folder for one, is written."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is, given to `Execution.on_progress`.

    Attributes:
        step: Optimiser steps done.
        steps: Optimiser steps of the whole run.
        train_loss: Smoothed training loss, nats per token; None before the first step of an attempt.
    """

    step: int
    steps: int
    train_loss: float | None


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where one run is executed.

    Attributes:
        corpus: Folder of the corpus snapshot that the spec names by hash.
        checkpoints: Folder for this run's checkpoints; None keeps none.
        checkpoint_seconds: Wall time between checkpoints.
        trunk: Folder that the runs of one trunk share (see `trainer.trunk`): the run begins at the latest state there
            that is its own too, and leaves one where its decay begins. None trains every run from its first step.
        threads: Torch threads of this process.
        device: `cpu` or `cuda`.
        gpus: GPUs that are reserved for the run; of a fraction, the same share of the memory.
        micro_batch: Windows per forward pass; None takes the whole batch.
        compile: Whether the gradient is compiled, of models that `trainer.compiling` serves.
        poll_seconds: Wall time between looks at `should_stop`, at the checkpoint's age, and calls of `on_progress`.
        should_stop: Polled; true ends the run by `Interrupted` after a checkpoint.
        on_progress: Called with how far the run is: before its first step, as often as `poll_seconds` says, and before
            it ends by `Interrupted`.
    """

    corpus: Path
    checkpoints: Path | None = None
    checkpoint_seconds: float = 60.0
    trunk: Path | None = None
    threads: int = 1
    device: str = "cpu"
    gpus: float = 0.0
    micro_batch: int | None = None
    compile: bool = False
    poll_seconds: float = 1.0
    should_stop: Callable[[], bool] = lambda: False
    on_progress: Callable[[Progress], None] = lambda _: None
