"""A trainer that does nothing, so that what is left is the orchestrator."""

from __future__ import annotations

from trainer import CurvePoint, Numerics, RunRecord, RunSpec


def train(spec: RunSpec) -> RunRecord:
    """A result with a curve of thirty points, as a run of a thousand steps has."""
    tokens = [round(spec.tokens * (i + 1) / 30) for i in range(30)]
    return RunRecord(
        status="ok",
        tokens=spec.tokens,
        loss=2.0 + spec.seed * 1e-6,
        loss_se=0.01,
        bpb=3.0,
        heldout_tokens=spec.data.heldout_tokens,
        curve=tuple(CurvePoint(tokens=t, train_loss=3.0, lr=0.01) for t in tokens),
        unique_tokens=1_000_000,
        seconds=0.001 * spec.steps,
        evaluation_seconds=0.0,
        resumed_at_step=0,
        numerics=Numerics(device="none", torch="none", threads=1, micro_batch=1),
    )
