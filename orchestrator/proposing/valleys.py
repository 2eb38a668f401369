"""Tuned axes under a sampler: whoever chooses points sees one loss for each, the bottom of its valley over the tuned values.

A point is tried at the values that the points before it suggest (a transfer rule), at their neighbours, and one step further
wherever the lowest loss lies at the end of what was tried: three or four tries in place of all. Its loss is then the fitted
minimum, never the best of the tries; or with `retrain` the mean of the best one's fresh seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.planning import Point
from orchestrator.proposing.choosing import Choice, Ending, grounds_of
from orchestrator.proposing.sampler import Strategy
from orchestrator.proposing.settings import Settings
from orchestrator.proposing.space import Cell, Known, Space
from orchestrator.proposing.valley import STEPS, Levels, Valley, valleys_of

Array = NDArray[np.float64]

EXPONENT_SD = 0.5
"""Prior of the exponents of a best value in N and in D (chosen: published ones for rates and batches lie within .6)."""

PLACE_SD = 0.35
"""Error of the log of one point's best value (chosen: half of a doubling)."""


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
        self.valleys = {valley.name: valley for valley in valleys_of(points)}
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
        return grounds_of(choice, known)

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
