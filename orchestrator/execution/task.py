"""What the driver hands to a worker and what comes back: plain data, so that any launcher can carry it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Ending = Literal[
    "ok",
    "diverged",
    "oom",
    "error",
    "lost",
    "killed",
    "preempted",
    "stopped",
    "withdrawn",
    "unfit",
    "refused",
    "storage",
]
"""How an attempt ended.

`ok` and `diverged` are committed. `oom`: device memory. `error`: an exception. `lost`: node gone, or it never started
the attempt. `killed`: the worker process died, or was killed because it was stuck. `preempted`: SIGTERM. `stopped`: we
asked. `withdrawn`: we asked before it began. `refused`: the worker cannot serve this store (does not see it, or runs
another version), and no node is left that might. `unfit`: the same, but others are left. `storage`: disk full, I/O
error, or a bucket that does not answer.
"""


Trunk = tuple[str, int]
"""What a run shares with those of other lengths (see `trainer.trunk`): its identity, and the steps done when the run's
own decay begins. Plain, as all of a task: a node without isoflop must be able to read it.
"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One attempt at a run.

    Attributes:
        run_id: The run.
        attempt: Number of the attempt, from 0.
        spec: `trainer.to_dict` of its spec.
        row: What the results table says of it already.
        store: Location of the store.
        nonce: The store's nonce; a worker that reads another one does not see our store.
        version: The driver's version of the code.
        corpus: Name of the corpus folder in the store.
        threads: Threads of the run.
        gpus: GPUs reserved, which may be a fraction.
        checkpoint_seconds: Wall time between checkpoints.
        micro_batch: Windows per forward pass, None for the whole batch.
        compile: Whether the gradient is compiled, where it can be.
        stop_request: Name of the request that ends the attempt after a checkpoint.
        lease: Number of the driver's lease; with `attempt` it tells apart every try there ever was.
        memory: Bytes of host memory to reserve, None for none.
        trunk: What it shares with other runs, None for nothing.
        node: Node that executes it, by the launcher's name for it; filled in there, where a launcher has nodes.
    """

    run_id: str
    attempt: int
    spec: dict[str, Any]
    row: dict[str, Any]
    store: str
    nonce: str
    version: str
    corpus: str
    threads: int
    gpus: float
    checkpoint_seconds: float
    micro_batch: int | None
    stop_request: str
    lease: int
    memory: float | None = None
    trunk: Trunk | None = None
    compile: bool = False
    node: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attempt ended.

    Attributes:
        run_id: The run.
        attempt: Number of the attempt.
        ending: How it ended.
        reason: One line, None for `ok`.
        traceback: For an `error`, without the values of locals.
        seconds: Wall time of the attempt, as far as known.
        flops_spent: Training FLOPs of the steps done in this attempt, as far as known.
        notes: Anything the driver should log, such as a second copy whose numbers differ.
    """

    run_id: str
    attempt: int
    ending: Ending
    reason: str | None = None
    traceback: str | None = None
    seconds: float = 0.0
    flops_spent: float = 0.0
    notes: tuple[str, ...] = field(default=())
