"""Tuned axes under a sampler: whoever chooses points sees one loss for each, the bottom of its valley over the tuned values.

A point is tried at the values that the points before it suggest (a transfer rule), at their neighbours, and one step further
wherever the lowest loss lies at the end of what was tried: three or four tries in place of all. Its loss is then the fitted
minimum, never the best of the tries; or with `retrain` the mean of the best one's fresh seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.tuning import lowest_try, read_knobs, valley_minimum
from orchestrator.planning import Point
from orchestrator.proposing.choosing import Choice, Ending
from orchestrator.proposing.sampler import Strategy
from orchestrator.proposing.settings import Settings
from orchestrator.proposing.space import Cell, Known, Space

Array = NDArray[np.float64]
Levels = tuple[int, ...]
"""Which value of each tuned axis, counted from 0 at the lowest."""

STEPS = 1
"""Values on either side of the lowest that are tried (chosen: with the lowest the three that a parabola needs)."""

EXPONENT_SD = 0.5
"""Prior of the exponents of a best value in N and in D (chosen: published ones for rates and batches lie within .6)."""

PLACE_SD = 0.35
"""Error of the log of one point's best value (chosen: half of a doubling)."""


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


class Valleys:
    """Chooses points by another strategy, and their tries by what is known of the valleys."""

    def __init__(
        self,
        points: Sequence[Point],
        space: Space,
        settings: Settings,
        strategy_of: Callable[[Space, Settings], Strategy],
    ) -> None:
        """Choose among points that are tuned.

        Args:
            points: Every try, and the runs that train one again.
            space: These points as cells.
            settings: What all runs together may cost.
            strategy_of: Makes who chooses among valleys, each a run to it.
        """
        self.space, self.settings = space, settings
        self.valleys = {valley.name: valley for valley in _valleys(points)}
        self._of_run = {run_id: valley for valley in self.valleys.values() for run_id in valley.runs}
        self._axes = len(next(iter(next(iter(self.valleys.values())).tries)))
        self._runs = self._expected_runs()
        self._cells = _space(tuple(self.valleys.values()), space, self._runs)
        self._strategy_of = strategy_of
        self._last: tuple[Settings, Strategy] | None = None

    def choose(self, known: Known) -> Choice | Ending:
        """The next try of a point that was begun, else the first of the point that the other strategy chooses."""
        used, paid = known.used, self._paid(known)
        rule = self._rule(known)
        for valley in self._begun(used):
            run_id = valley.wanted(known, used, (0,) * self._axes)
            if run_id is not None and self._fits(run_id, paid, used):
                stage = "tune" if run_id in valley.tries.values() else "retrain"
                return self._choice(run_id, stage, valley)
        seen = self._seen(known)
        limits = self._limits(known, seen)
        if limits.max_runs <= len(seen.used) - len(seen.failed):
            return Ending(reason=f"{len(used)} runs: no further point fits into sampling.max_runs with its tries")
        chosen = self._inner(limits).choose(seen)
        if isinstance(chosen, Ending):
            return chosen
        valley = self.valleys[chosen.run_id]
        run_id = valley.wanted(known, used, self._start(valley, rule))
        if run_id is None or not self._fits(run_id, paid, used):
            return Ending(reason="no further point fits into the FLOPs and runs with its tries")
        return replace(chosen, run_id=run_id, cell=self.space.places[run_id])

    def record(self, choice: Choice, known: Known) -> dict[str, Any]:
        """What a proposal was based on: plain values."""
        valley = self._of_run[choice.run_id]
        if not valley.runs & known.used:
            seen = self._seen(known)
            return self._inner(self._limits(known, seen)).record(
                replace(choice, run_id=valley.name, cell=self._inner_cell(valley)), seen
            )
        return {
            "stage": choice.stage,
            "why": choice.why,
            "known": known.fingerprint,
            "committed": len(known.losses),
            "pending": sorted(known.pending),
        }

    def _choice(self, run_id: str, stage: Any, valley: Valley) -> Choice:
        levels = next(n for n in valley.tries if run_id == valley.tries[n] or run_id in valley.fresh.get(n, ()))
        why = (
            f"{valley.tuned[levels]}: beside the best try of this point so far"
            if stage == "tune"
            else f"{valley.tuned[levels]} is the best try of this point: trained again on a fresh seed"
        )
        return Choice(run_id=run_id, cell=self.space.places[run_id], stage=stage, why=why)

    def _begun(self, used: Collection[str]) -> list[Valley]:
        return [valley for valley in self.valleys.values() if not valley.runs.isdisjoint(used)]

    def _seen(self, known: Known) -> Known:
        """What is known, with each valley as one run."""
        used, paid = known.used, self._paid(known)
        losses: dict[str, float | None] = {}
        pending, failed = [], []
        for valley in self._begun(used):
            mine = valley.runs & used
            wants = valley.wanted(known, used, (0,) * self._axes)
            if mine & set(known.pending) or (wants is not None and self._fits(wants, paid, used)):
                pending.append(valley.name)
            elif mine <= set(known.failed):
                failed.append(valley.name)
            else:
                losses[valley.name] = valley.result(known)
        return Known(losses=losses, pending=tuple(pending), failed=tuple(failed), too_large=known.too_large)

    def _inner(self, limits: Settings) -> Strategy:
        """Who chooses among valleys within these limits; the last one is kept with what it has computed."""
        if self._last is None or self._last[0] != limits:
            self._last = limits, self._strategy_of(self._cells, limits)
        return self._last[1]

    def _limits(self, known: Known, seen: Known) -> Settings:
        """What points may cost, each counted as expected: what one took less than that, or more, is there for others."""
        used, runs, spared = known.used - set(known.failed), 0, 0.0
        for name in sorted(seen.used):
            valley = self.valleys[name]
            made = sorted(valley.runs & used)
            complete = name not in seen.pending
            runs += len(made) if complete else max(len(made), self._runs)
            if name in seen.losses:
                flops = sum(self.space.flops[self.space.places[run_id]] for run_id in made)
                spared += self._runs * valley.flops - float(flops)
        left = max(0, self.settings.max_runs - runs) // self._runs
        return replace(
            self.settings, max_flops=self.settings.max_flops + spared, max_runs=len(seen.used) - len(seen.failed) + left
        )

    def _paid(self, known: Known) -> float:
        runs = sorted(known.used - set(known.failed))
        return float(sum(self.space.flops[self.space.places[run_id]] for run_id in runs if run_id in self.space.places))

    def _fits(self, run_id: str, paid: float, used: Collection[str]) -> bool:
        flops = float(self.space.flops[self.space.places[run_id]])
        return paid + flops <= self.settings.max_flops * (1 + 1e-9) and len(used) < self.settings.max_runs

    def _rule(self, known: Known) -> Array | None:
        """Logs of best values as a + b ln N + c ln D, shape (3, axes), from the points that have some; None without any."""
        rows, bests = [], []
        for valley in self._begun(known.used):
            best = valley.best(known) if len(valley.losses(known)) > 2 * STEPS else None
            if best is not None:
                rows.append([1.0, *self._coordinates(valley)])
                bests.append(best)
        if not rows:
            return None
        X, y = np.array(rows), np.array(bests)
        precision = np.diag([0.0, 1.0, 1.0]) * (PLACE_SD / EXPONENT_SD) ** 2
        return np.asarray(np.linalg.solve(X.T @ X + precision, X.T @ y))

    def _coordinates(self, valley: Valley) -> list[float]:
        """Ln N and ln D about the middle of all cells."""
        return [
            float(np.log(valley.params) - np.log(self.space.params).mean()),
            float(np.log(valley.tokens) - np.log(self.space.tokens).mean()),
        ]

    def _start(self, valley: Valley, rule: Array | None) -> Levels:
        """The combination that is tried first: the middle of the axes, or the nearest to what the rule expects."""
        if rule is None:
            middle = sorted(valley.tries)
            return tuple(int(np.median([levels[axis] for levels in middle])) for axis in range(self._axes))
        expected = np.array([1.0, *self._coordinates(valley)]) @ rule
        return min(
            valley.tries,
            key=lambda levels: (float(np.abs(np.log(valley.knobs[levels]) - expected).sum()), levels),
        )

    def _expected_runs(self) -> int:
        """Runs that a point is expected to take: its window, and those that train the best again."""
        valley = max(self.valleys.values(), key=lambda valley: len(valley.tries))
        sizes = [len({levels[axis] for levels in valley.tries}) for axis in range(self._axes)]
        window = int(np.prod([min(size, 1 + 2 * STEPS) for size in sizes]))
        return window + max((len(runs) for runs in valley.fresh.values()), default=0)

    def _inner_cell(self, valley: Valley) -> int:
        return sorted({(v.curve, v.params) for v in self.valleys.values()}).index((valley.curve, valley.params))


def _distance(a: Levels, b: Levels) -> int:
    """Largest number of values between two combinations on any axis."""
    return max(abs(i - j) for i, j in zip(a, b, strict=True))


def _valleys(points: Sequence[Point]) -> list[Valley]:
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


def _space(valleys: Sequence[Valley], space: Space, runs: int) -> Space:
    """Valleys as cells, each seed of one a run that costs so many."""
    numbers = {curve: number for number, curve in enumerate(sorted({valley.curve for valley in valleys}))}
    cells: dict[tuple[int, int], list[Valley]] = {}
    for valley in valleys:
        cells.setdefault((valley.curve, valley.params), []).append(valley)
    return Space(
        cells=tuple(
            Cell(
                curve=numbers[curve],
                params=params,
                tokens=mine[0].tokens,
                flops=runs * mine[0].flops,
                runs=tuple(valley.name for valley in mine),
            )
            for (curve, params), mine in sorted(cells.items())
        ),
        budgets=space.budgets,
        middles=space.middles,
    )
