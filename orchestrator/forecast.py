"""How long a sweep still takes: what is open, less what attempts under way have done, by a cost model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import cost
from orchestrator.cost import CostModel, Work
from orchestrator.planning import Plan, Point
from orchestrator.store import Document, Store
from trainer import RunSpec

READ_AT_ONCE = 16
"""Attempts under way whose progress is read for one forecast (chosen: in a bucket each costs some 20 ms)."""

TOLD_SHARE = 0.1
"""Share of a run from which its pace so far says how long it takes (chosen)."""

TOLD_SECONDS = 2.0
"""Least time of an attempt from which its pace says something (chosen)."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is left, in worker seconds.

    Attributes:
        curves: By budget, of runs that are known to be made.
        unproposed: Of runs that a sampler may still propose, at most; 0 on a grid.
        longest: Of the run that ends last if all start now.
    """

    curves: Mapping[float, float]
    unproposed: float
    longest: float

    @property
    def worker_seconds(self) -> float:
        """All of it."""
        return sum(self.curves.values()) + self.unproposed

    def wall_seconds(self, slots: int) -> float:
        """Wall time with so many runs at once."""
        return max(self.worker_seconds / max(slots, 1), self.longest)


class Forecast:
    """Work that is left; with a sampler, what its limits allow beside the runs that it has proposed."""

    def __init__(self, plan: Plan, *, ended: Collection[str], proposed: Iterable[str]) -> None:
        """Start from what a store says.

        Args:
            plan: The plan, or a sampler's candidates.
            ended: Runs that were committed, or have failed for good.
            proposed: Runs that have a proposal, ended or not.
        """
        self._limits = plan.limits
        self._all = Work()
        self._all_flops = sum(point.flops for point in plan.points)
        points = {point.run_id: point for point in plan.points}
        self._proposed = {run_id for run_id in proposed if run_id in points}
        self._proposed_flops = sum(points[run_id].flops for run_id in self._proposed)
        self._left: dict[float, Work] = {budget: Work() for budget in {point.budget for point in plan.points}}
        for point, count in _alike(plan.points):
            self._all.add(point.spec, count)
        waited_for = plan.points if plan.limits is None else [points[run_id] for run_id in sorted(self._proposed)]
        for point, count in _alike(point for point in waited_for if point.run_id not in ended):
            self._left[point.budget].add(point.spec, point.share * count)

    def proposed(self, point: Point) -> None:
        """A point was proposed; on a grid it was expected."""
        if point.run_id not in self._proposed:
            self._proposed.add(point.run_id)
            self._proposed_flops += point.flops
            if self._limits is not None:
                self._left[point.budget].add(point.spec, point.share)

    def ended(self, point: Point) -> None:
        """A run was committed, or failed for good."""
        self._left[point.budget].remove(point.spec, point.share)

    def predict(
        self, model: CostModel, under_way: Mapping[str, tuple[Point, float]] | None = None, waiting: float = 0.0
    ) -> Prediction:
        """Predict.

        Args:
            model: Seconds of a run.
            under_way: Points that are being run, with the share of their steps that is done.
            waiting: Predicted seconds of the longest run that waits.
        """
        curves = {budget: work.seconds(model) for budget, work in self._left.items()}
        longest = waiting
        for point, share in (under_way or {}).values():
            seconds = model.seconds(point.spec)
            own = max(0.0, share - (1 - point.share))  # of a trunk's run, what lies beyond its branch
            curves[point.budget] = max(0.0, curves[point.budget] - own * seconds)
            longest = max(longest, (1 - share) * seconds)
        return Prediction(curves=curves, unproposed=self._unproposed(model), longest=longest)

    def _unproposed(self, model: CostModel) -> float:
        """What a sampler may still spend, at the candidates' seconds a FLOP; fewer where the runs are limited."""
        if self._limits is None or not self._all_flops:
            return 0.0
        seconds_per_flop = self._all.seconds(model) / self._all_flops
        flops = max(0.0, self._limits.flops - self._proposed_flops)
        if self._proposed:
            runs = max(0, self._limits.runs - len(self._proposed))
            flops = min(flops, runs * self._proposed_flops / len(self._proposed))
        return flops * seconds_per_flop


def _alike(points: Iterable[Point]) -> Iterable[tuple[Point, int]]:
    """One point of each group that takes as long, and how many there are: seeds share a shape, a length and data."""
    groups: dict[tuple[object, ...], list[Point]] = {}
    for point in points:
        spec = point.spec
        key = (point.budget, point.share, id(spec.model), id(spec.data), spec.steps, spec.batch_contexts)
        groups.setdefault(key, []).append(point)
    return [(group[0], len(group)) for group in groups.values()]


def read_progress(store: Store, points: Mapping[str, Point]) -> dict[str, Document]:
    """What attempts under way wrote last of the step that they are at."""
    found = {}
    for run_id in list(points)[:READ_AT_ONCE]:
        progress = store.progress(run_id)
        if progress is not None and progress.get("step") is not None and progress.get("steps"):
            found[run_id] = progress
    return found


def shares_done(progress: Mapping[str, Document], points: Mapping[str, Point]) -> dict[str, tuple[Point, float]]:
    """Points under way with the share of their steps that is done."""
    return {run_id: (points[run_id], min(1.0, at["step"] / at["steps"])) for run_id, at in progress.items()}


def informed(
    timed: Sequence[tuple[RunSpec, float]],
    guess: CostModel,
    progress: Mapping[str, Document],
    points: Mapping[str, Point],
) -> CostModel:
    """A cost model from finished runs and from the pace of those under way, which tell before the first has finished.

    Args:
        timed: Specs of finished runs and their seconds.
        guess: Constants for no runs.
        progress: Of attempts under way, see `read_progress`.
        points: Their points.
    """
    pace = []
    for run_id, at in progress.items():
        share = (at["step"] - at["first"]) / at["steps"]
        if share >= TOLD_SHARE and at["seconds"] >= TOLD_SECONDS:
            pace.append((points[run_id].spec, at["seconds"] / share))
    return cost.fitted([*timed, *pace], guess)
