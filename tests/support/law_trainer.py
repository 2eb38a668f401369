"""A trainer whose losses follow a law that is known, with a little noise that each run's identity decides."""

from __future__ import annotations

import random

from trainer import CurvePoint, Numerics, RunRecord, RunSpec, count_params, run_id
from trainer.execution import Execution

NOISE = 0.005


def train(spec: RunSpec, execution: Execution) -> RunRecord:
    """L = 1.5 + 20 / N^.4 + 60 / D^.4, and noise."""
    params = count_params(spec.model).under("blocks+head")
    loss = 1.5 + 20 / params**0.4 + 60 / spec.tokens**0.4
    loss += NOISE * random.Random(run_id(spec)).gauss(0, 1)
    return RunRecord(
        status="ok",
        tokens=spec.tokens,
        loss=loss,
        loss_se=0.01,
        bpb=loss / 0.6931,
        heldout_tokens=spec.data.heldout_tokens,
        curve=(CurvePoint(tokens=spec.tokens, train_loss=loss, lr=0.0),),
        unique_tokens=spec.tokens,
        seconds=0.001,
        evaluation_seconds=0.0,
        resumed_at_step=0,
        numerics=Numerics(device="law", torch="none", threads=1, micro_batch=1),
    )
