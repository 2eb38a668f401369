"""Trunks of a plan: runs of one shape and seed that differ in length, and what each still has to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.execution.task import Trunk
from orchestrator.planning.points import Point
from orchestrator.sweep import Sweep
from trainer import RunSpec, branch_step, trunk_id


def trunk_of(sweep: Sweep, spec: RunSpec) -> Trunk | None:
    """What a run shares with others, None where the sweep does not share trunks."""
    return (trunk_id(spec), branch_step(spec)) if sweep.schedule.trunks else None


def share_trunks(sweep: Sweep, points: Sequence[Point]) -> tuple[Point, ...]:
    """Points with the share of their steps that each trains itself, the shortest of a trunk being run first."""
    if not sweep.schedule.trunks:
        return tuple(points)
    reached: dict[str, int] = {}
    shares: dict[str, float] = {}
    for point in sorted(points, key=lambda point: point.spec.steps):
        if trunk := trunk_of(sweep, point.spec):
            identity, branch = trunk
            shares[point.run_id] = 1 - reached.get(identity, 0) / point.spec.steps
            reached[identity] = branch
    return tuple(
        replace(point, share=share, seconds=share * point.seconds)
        if (share := shares.get(point.run_id, 1.0)) < 1
        else point
        for point in points
    )
