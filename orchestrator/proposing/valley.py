"""One tuned point: its tries over the tuned values, which of them is next, and the loss at the bottom of its valley."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.tries import lowest_try, read_knobs
from analysis.tuning import valley_minimum
from orchestrator.planning import Point
from orchestrator.proposing.space import Known

Array = NDArray[np.float64]
Levels = tuple[int, ...]
"""Which value of each tuned axis, counted from 0 at the lowest."""

STEPS = 1
"""Values on either side of the lowest that are tried (chosen: with the lowest the three that a parabola needs)."""


@dataclass(frozen=True, kw_only=True)
class Valley:
    """One point with one seed: its tries, and the fresh runs of each.

    Attributes:
        name: By which whoever chooses points knows it.
        curve: Its curve.
        params: N.
        tokens: D, of its first try.
        flops: FLOPs of one try.
        tries: Run of each combination of values.
        tuned: These values as the column `tuned` writes them.
        knobs: The values themselves.
        fresh: Runs that train each again.
    """

    name: str
    curve: int
    params: int
    tokens: int
    flops: float
    tries: Mapping[Levels, str]
    tuned: Mapping[Levels, str]
    knobs: Mapping[Levels, tuple[float, ...]]
    fresh: Mapping[Levels, tuple[str, ...]]

    @cached_property
    def runs(self) -> frozenset[str]:
        """All its runs."""
        return frozenset(self.tries.values()) | frozenset(itertools.chain.from_iterable(self.fresh.values()))

    def losses(self, known: Known) -> dict[Levels, float]:
        """Losses of its tries."""
        found = {levels: known.losses.get(run_id) for levels, run_id in self.tries.items()}
        return {levels: loss for levels, loss in found.items() if loss is not None}

    def wanted(self, known: Known, used: Collection[str], start: Levels) -> str | None:
        """The next try: `start`, then what surrounds the lowest one so far, then its fresh seeds; None where there is none.

        What is under way counts as tried. Where nothing had a loss yet the search widens around what was tried.
        """
        tried = [levels for levels, run_id in self.tries.items() if run_id in used]
        if known.too_large is not None and self.params >= known.too_large:
            return None
        if not tried:
            return self.tries[min(self.tries, key=lambda levels: (_distance(levels, start), levels))]
        losses = self.losses(known)
        centre = min(losses, key=lambda levels: (losses[levels], levels)) if losses else sorted(tried)[len(tried) // 2]
        waits = any(run_id in known.pending for run_id in self.tries.values())
        left = sorted(self.tries.keys() - set(tried), key=lambda levels: (_distance(levels, centre), levels))
        if left and (_distance(left[0], centre) <= STEPS or not (losses or waits)):
            return self.tries[left[0]]
        if waits or not losses:
            return None
        return next((run_id for run_id in self.fresh.get(self._best(known), ()) if run_id not in used), None)

    def result(self, known: Known) -> float | None:
        """Its loss, once everything that it wants has ended; None where nothing had one."""
        losses = self.losses(known)
        if not losses:
            return None
        if self.fresh:
            runs = self.fresh.get(self._best(known), ())
            again = [loss for run_id in runs if (loss := known.losses.get(run_id)) is not None]
            return float(np.mean(np.sort(again))) if again else None
        found = self._bottom(losses)
        return min(losses.values()) if found is None else found[1]

    def best(self, known: Known) -> Array | None:
        """Logs of its best values, shape (axes,); None before there is a result."""
        losses = self.losses(known)
        if not losses:
            return None
        found = self._bottom(losses)
        lowest = min(losses, key=lambda levels: (losses[levels], levels))
        return np.log(np.array(self.knobs[lowest]) if found is None else found[0])

    def _best(self, known: Known) -> Levels:
        losses = self.losses(known)
        best = lowest_try({self.tuned[levels]: [loss] for levels, loss in losses.items()})
        return next(levels for levels in losses if self.tuned[levels] == best)

    def _bottom(self, losses: Mapping[Levels, float]) -> tuple[Array, float] | None:
        order = sorted(losses)
        return _bottom(tuple(self.knobs[levels] for levels in order), tuple(losses[levels] for levels in order))


@lru_cache(maxsize=4096)
def _bottom(knobs: tuple[tuple[float, ...], ...], losses: tuple[float, ...]) -> tuple[Array, float] | None:
    """Kept, since every proposal looks at every valley."""
    return valley_minimum(np.array(knobs), np.array(losses))


def valleys_of(points: Sequence[Point]) -> list[Valley]:
    """Every point and seed with its tries, in the order of curves and sizes."""
    knobs = {point.run_id: tuple(read_knobs(str(point.tuned)).values()) for point in points}
    scale = [sorted({values[axis] for values in knobs.values()}) for axis in range(len(next(iter(knobs.values()))))]
    places: dict[tuple[int, int], list[Point]] = {}
    for point in points:
        places.setdefault((point.curve, point.params), []).append(point)
    found = []
    for (curve, params), mine in sorted(places.items()):
        tries = [point for point in mine if not point.retrained]
        again = [point for point in mine if point.retrained]
        for seed in sorted({point.spec.seed for point in tries})[: 1 if again else None]:
            chosen = {_levels(knobs[p.run_id], scale): p for p in tries if p.spec.seed == seed}
            fresh: dict[Levels, tuple[str, ...]] = {}
            for point in sorted(again, key=lambda point: point.spec.seed):
                levels = _levels(knobs[point.run_id], scale)
                fresh[levels] = (*fresh.get(levels, ()), point.run_id)
            first = next(iter(chosen.values()))
            found.append(
                Valley(
                    name=f"{curve}/{params}/{seed}",
                    curve=curve,
                    params=params,
                    tokens=first.spec.tokens,
                    flops=first.flops,
                    tries={levels: point.run_id for levels, point in chosen.items()},
                    tuned={levels: str(point.tuned) for levels, point in chosen.items()},
                    knobs={levels: knobs[point.run_id] for levels, point in chosen.items()},
                    fresh=fresh,
                )
            )
    return found


def _levels(values: Sequence[float], scale: Sequence[Sequence[float]]) -> Levels:
    return tuple(mine.index(value) for value, mine in zip(values, scale, strict=True))


def _distance(a: Levels, b: Levels) -> int:
    """Largest number of values between two combinations on any axis."""
    return max(abs(i - j) for i, j in zip(a, b, strict=True))
