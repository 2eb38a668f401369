"""The best try of every tuned point: found once all tries there have ended, then trained again on fresh seeds.

The lowest of several noisy losses is too good, and the run that had it is the wrong one to report: fresh seeds of its
values say without that choice what they are worth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from analysis.tries import lowest_try
from orchestrator.planning import Point

Place = tuple[int, int]
"""A curve and N."""


class Winners:
    """Follows the tries of each place; which values win depends on their losses, not on the order in which they came."""

    def __init__(self, points: Iterable[Point]) -> None:
        """Follow a plan's points, of which those that would be trained again are candidates."""
        self._places: dict[str, Place] = {}
        self._values: dict[str, str] = {}
        self._open: dict[Place, set[str]] = defaultdict(set)
        self._losses: dict[Place, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._fresh: dict[tuple[Place, str], list[Point]] = defaultdict(list)
        self._why: dict[str, str] = {}
        for point in points:
            place = point.curve, point.params
            if point.retrained:
                self._fresh[place, str(point.tuned)].append(point)
            else:
                self._places[point.run_id], self._values[point.run_id] = place, str(point.tuned)
                self._open[place].add(point.run_id)

    def ended(self, run_id: str, loss: float | None) -> list[Point]:
        """Note the end of a try, None for one without a loss; gives the winner's runs where it was its place's last."""
        place = self._places.get(run_id)
        if place is None or run_id not in self._open[place]:
            return []
        self._open[place].remove(run_id)
        if loss is not None:
            self._losses[place][self._values[run_id]].append(loss)
        return [] if self._open[place] else self._winner(place)

    def why(self, run_id: str) -> str | None:
        """Why a run is made, None for a try."""
        return self._why.get(run_id)

    @property
    def awaited(self) -> bool:
        """Whether a place has tries that have not ended."""
        return bool(self._fresh) and any(self._open.values())

    def _winner(self, place: Place) -> list[Point]:
        losses = self._losses[place]
        best = lowest_try(losses)
        if best is None:
            return []
        fresh = self._fresh[place, best]
        mean = sum(losses[best]) / len(losses[best])
        for point in fresh:
            self._why[point.run_id] = (
                f"{best} is the best of {len(losses)} tries at this point (mean loss {mean:.4f}): trained again on a fresh seed"
            )
        return fresh
