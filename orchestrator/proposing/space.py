"""The points that may be proposed, and what is known of them: what every proposal is a pure function of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.planning import Plan, Point, trunk_of

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (N, D) of one curve, under one value of every tuned axis, with a run for every seed.

    Attributes:
        curve: Number of its curve.
        params: N.
        tokens: D.
        flops: FLOPs of one run.
        runs: Run ids in the order of their seeds.
    """

    curve: int
    params: int
    tokens: int
    flops: float
    runs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Where a run leaves its trunk.

    Attributes:
        trunk: Identity of the trunk.
        step: Steps done when its own decay begins.
        steps: All its steps.
    """

    trunk: str
    step: int
    steps: int

    def share(self, reached: Collection[int]) -> float:
        """Share of its steps that it still has to make where runs of its trunk left off at these steps."""
        return 1 - max((step for step in reached if step <= self.step), default=0) / self.steps


@dataclass(frozen=True, kw_only=True)
class Space:
    """Every cell that may be proposed, by curve and then by size.

    Attributes:
        cells: The cells.
        budgets: FLOPs of each curve, shape (curves,).
        middles: Ln N at which each curve's optimum is expected before any run.
        branches: For sweeps that share trunks, where each run leaves its own.
    """

    cells: tuple[Cell, ...]
    budgets: tuple[float, ...]
    middles: tuple[float, ...]
    branches: Mapping[str, Branch] = field(default_factory=dict)

    @cached_property
    def curve(self) -> NDArray[np.int64]:
        """Curve of each cell."""
        return np.array([cell.curve for cell in self.cells], dtype=np.int64)

    @cached_property
    def params(self) -> Array:
        """N of each cell."""
        return np.array([cell.params for cell in self.cells], dtype=np.float64)

    @cached_property
    def tokens(self) -> Array:
        """D of each cell."""
        return np.array([cell.tokens for cell in self.cells], dtype=np.float64)

    @cached_property
    def flops(self) -> Array:
        """FLOPs of one run of each cell."""
        return np.array([cell.flops for cell in self.cells], dtype=np.float64)

    @cached_property
    def seeds(self) -> NDArray[np.int64]:
        """Runs that each cell has."""
        return np.array([len(cell.runs) for cell in self.cells], dtype=np.int64)

    @cached_property
    def columns(self) -> dict[str, Array]:
        """What a surface reads of every cell."""
        return {"params": self.params, "tokens": self.tokens, "curve": self.curve.astype(np.float64)}

    @cached_property
    def places(self) -> dict[str, int]:
        """Cell of every run."""
        return {run_id: index for index, cell in enumerate(self.cells) for run_id in cell.runs}


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a proposal is based on; equal for every order in which it came.

    Attributes:
        losses: Committed runs and their loss, None for a diverged one.
        pending: Runs that were proposed and have no result yet.
        failed: Runs that ended without a result for good: their FLOPs are free again.
        too_large: Size from which models do not fit into memory; None where all did.
    """

    losses: Mapping[str, float | None]
    pending: Collection[str] = ()
    failed: Collection[str] = ()
    too_large: float | None = None

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all of it."""
        text = json.dumps(
            [sorted(self.losses.items()), sorted(self.pending), sorted(self.failed), self.too_large],
            separators=(",", ":"),
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def used(self) -> set[str]:
        """Runs that must not be proposed again."""
        return {*self.losses, *self.pending, *self.failed}


def space_of(plan: Plan, setting: str | None = None) -> Space:
    """The cells of a plan's points, or of those of one setting."""
    points = [point for point in plan.points if setting in (None, point.setting)]
    cells: dict[tuple[int, int, int, str], list[Point]] = {}
    for point in points:
        cells.setdefault((point.curve, point.params, point.spec.tokens, point.tuned or ""), []).append(point)
    budgets = {point.curve: point.budget for point in points}
    numbers = {curve: number for number, curve in enumerate(sorted(budgets))}  # a curve may have lost all its points
    return Space(
        cells=tuple(
            Cell(
                curve=numbers[curve],
                params=params,
                tokens=tokens,
                flops=points[0].flops,
                runs=tuple(point.run_id for point in sorted(points, key=lambda point: point.spec.seed)),
            )
            for (curve, params, tokens, _), points in sorted(cells.items())
        ),
        budgets=tuple(budgets[curve] for curve in sorted(budgets)),
        middles=tuple(_middle(plan, curve) for curve in sorted(budgets)),
        branches={
            point.run_id: Branch(trunk=trunk[0], step=trunk[1], steps=point.spec.steps)
            for point in points
            if (trunk := trunk_of(plan.sweep, point.spec)) is not None
        },
    )


def _middle(plan: Plan, curve: int) -> float:
    """Where the sweep file expects the optimum: the middle of its grid, else of what can be run."""
    if plan.limits is not None and curve in plan.limits.centres:
        return float(np.log(plan.limits.centres[curve]))
    sizes = [point.params for point in plan.points if point.curve == curve]
    return 0.5 * float(np.log(min(sizes)) + np.log(max(sizes)))
