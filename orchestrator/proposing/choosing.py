"""The next point: a bracket on the cheap curves, then what teaches most per cost, unless the law is not believed.

Everything here is a function of the space, what is known and the settings; no state, no chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.design.belief import Belief
from analysis.design.selecting import absorb, gains
from orchestrator.proposing import settings as constants
from orchestrator.proposing.knowing import Knowledge, understand
from orchestrator.proposing.settings import UNLIMITED, Settings
from orchestrator.proposing.space import Known, Space

Array = NDArray[np.float64]
Stage = Literal["bracket", "learn", "floor", "symmetric", "tune", "retrain"]
DECADE = float(np.log(10))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A proposal and why it was made.

    Attributes:
        run_id: The run.
        cell: Its cell.
        stage: Which rule chose it.
        why: One sentence.
        expected_se: Standard error of the target that is expected after it and those under way.
    """

    run_id: str
    cell: int
    stage: Stage
    why: str
    expected_se: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """No more proposals, and why."""

    reason: str


class Chooser:
    """Chooses among the cells of a space; remembers the last fit alone, which saves time and changes nothing."""

    def __init__(self, space: Space, settings: Settings) -> None:
        self.space = space
        self.settings = settings
        self._first_cells = _first_cells(space)
        self._last: tuple[str, Knowledge] | None = None

    def knowledge(self, known: Known) -> Knowledge:
        """What the committed runs say."""
        committed = Known(losses=known.losses).fingerprint
        if self._last is None or self._last[0] != committed:
            self._last = committed, understand(self.space, known, self.settings)
        return self._last[1]

    def choose(self, known: Known) -> Choice | Ending:
        """The next run, or why there is none."""
        free = _Free(self.space, self.settings, known)
        if ending := self._ended(free, known):
            return ending
        if (cell := _bracket(self._first_cells, free, known)) is not None:
            return _choice(free, cell, "bracket", "brackets the optimum of a cheap curve before any law is believed")
        if not known.losses:
            return Ending(reason="the bracket's first results are awaited")
        knowledge = self.knowledge(known)
        if (cell := _floor(knowledge, free)) is not None:
            return _choice(free, cell, "floor", "a reported curve has fewer than two sizes on this side of its optimum")
        if knowledge.guard.fired or knowledge.target is None:
            return _symmetric(knowledge, free) or Ending(reason="no point of a symmetric bracket is left")
        return _learn(knowledge, free, known)

    def _ended(self, free: _Free, known: Known) -> Ending | None:
        if free.runs >= self.settings.max_runs:
            return Ending(reason=f"{free.runs} runs, all that sampling.max_runs allows")
        if not free.cells.any():
            return Ending(reason="no point is left that fits into the FLOPs")
        wanted = self.settings.target_interval
        if wanted is not None and len(known.losses) >= constants.LEAST_RUNS:
            width = self.knowledge(known).width
            if width is not None and width <= wanted:
                return Ending(reason=f"the target's interval is {width:.3g} wide; stop.target_interval is {wanted:g}")
        return None

    def record(self, choice: Choice, known: Known) -> dict[str, Any]:
        """What a proposal was based on, for its document: plain values."""
        document = grounds_of(choice, known) | {"flops_reserved": _Free(self.space, self.settings, known).flops}
        if choice.stage == "bracket":
            return document
        knowledge = self.knowledge(known)
        return document | {"expected_se": choice.expected_se} | state_of(knowledge)


def grounds_of(choice: Choice, known: Known) -> dict[str, Any]:
    """What every proposal says of why it was made, whoever chose it: plain values."""
    return {
        "stage": choice.stage,
        "why": choice.why,
        "known": known.fingerprint,
        "committed": len(known.losses),
        "pending": sorted(known.pending),
    }


def state_of(knowledge: Knowledge) -> dict[str, Any]:
    """The target with its interval, and what the guard says: plain values."""
    interval, guard = knowledge.interval, knowledge.guard
    return {
        "target": {
            "quantity": knowledge.settings.quantity,
            "flops": knowledge.settings.target_flops or 10 * knowledge.space.budgets[-1],
            "value": None if interval is None else interval[0],
            "interval": None
            if interval is None
            else {"low": interval[1], "high": interval[2], "level": constants.LEVEL},
            "width": knowledge.width,
        },
        "guard": {
            "curves": guard.curves,
            "disagreement": guard.disagreement,
            "law_believed": not guard.fired,
            "far": knowledge.far,
        },
    }


class _Free:
    """What may still be proposed, and what it costs: on a trunk that there is, the way beyond it alone."""

    def __init__(self, space: Space, settings: Settings, known: Known) -> None:
        used = known.used
        taken = np.zeros(len(space.cells), dtype=np.int64)
        paid = 0.0
        reached: dict[str, list[int]] = defaultdict(list)
        for run_id in _shortest_first(space, used):
            cell = space.places.get(run_id)
            if cell is not None:
                taken[cell] += 1
                paid += 0.0 if run_id in known.failed else float(space.flops[cell]) * _share(space, run_id, reached)
                if run_id in space.branches:
                    reached[space.branches[run_id].trunk].append(space.branches[run_id].step)
        self.space, self.used, self.taken = space, used, taken
        self.runs, self.flops = len(used) - len(known.failed), paid
        self.price = space.flops
        if reached:
            left = [next((run_id for run_id in cell.runs if run_id not in used), None) for cell in space.cells]
            self.price = space.flops * [1.0 if run_id is None else _share(space, run_id, reached) for run_id in left]
        self.cells = (taken < space.seeds) & (paid + self.price <= settings.max_flops * (1 + 1e-9))
        if known.too_large is not None:
            self.cells &= space.params < known.too_large

    def run(self, cell: int) -> str:
        """The cell's first run that is not used."""
        return next(run_id for run_id in self.space.cells[cell].runs if run_id not in self.used)

    def nearest(self, curve: int, log_params: float, *, new: bool = True) -> int | None:
        """The free cell of a curve nearest to a size; `new` ones have no run yet."""
        wanted = self.cells & (self.space.curve == curve) & (~new | (self.taken == 0))
        rows = np.flatnonzero(wanted)
        if len(rows) == 0:
            return None
        return int(rows[np.abs(np.log(self.space.params[rows]) - log_params).argmin()])


def _shortest_first(space: Space, runs: Collection[str]) -> Collection[str]:
    """Runs in the order in which those of a trunk are made."""
    if not space.branches:
        return runs
    return sorted(runs, key=lambda run_id: space.branches[run_id].steps if run_id in space.branches else 0)


def _share(space: Space, run_id: str, reached: Mapping[str, Sequence[int]]) -> float:
    """Share of its steps that a run has to make where its trunk has been left at some."""
    branch = space.branches.get(run_id)
    return 1.0 if branch is None else branch.share(reached.get(branch.trunk, ()))


def _choice(free: _Free, cell: int, stage: Stage, why: str, expected_se: float | None = None) -> Choice:
    return Choice(run_id=free.run(cell), cell=cell, stage=stage, why=why, expected_se=expected_se)


def _bracket(first: Sequence[int], free: _Free, known: Known) -> int | None:
    """A cell of the first bracket that has no run, then a step outward, then a second seed of its middle."""
    space = free.space
    for cell in first:
        if free.taken[cell] == 0 and free.cells[cell]:
            return cell
    mine = np.flatnonzero((space.curve == 0) & (free.taken > 0))
    losses = {cell: [known.losses.get(run) for run in space.cells[cell].runs] for cell in mine}
    seen = {cell: min(values) for cell, all_ in losses.items() if (values := [v for v in all_ if v is not None])}
    if seen and len(seen) == len(mine):  # a result of every size that was tried on the cheapest curve
        lowest = min(seen, key=lambda cell: seen[cell])
        logs, ends = np.log(space.params), (mine[0], mine[-1])
        step = constants.OUTWARD * DECADE * (-1 if lowest == ends[0] else 1)
        if lowest in ends:
            outward = free.nearest(0, float(logs[lowest]) + step)
            if outward is not None and (logs[outward] - logs[lowest]) * step > 0:
                return outward
    middle = first[len(constants.BRACKET_SIZES) // 2 if len(first) > 1 else 0]
    return middle if free.taken[middle] == 1 and free.cells[middle] else None


def _first_cells(space: Space) -> list[int]:
    """The first bracket: three sizes on each of the two cheapest curves, two on the third."""
    logs, cells = np.log(space.params), []
    sizes_of = (constants.BRACKET_SIZES, constants.BRACKET_SIZES, constants.NEXT_SIZES)
    for curve, sizes in enumerate(sizes_of[: len(space.budgets)]):
        rows = np.flatnonzero(space.curve == curve)
        for size in sizes:
            wanted = np.clip(space.middles[curve] + size * DECADE, logs[rows[0]], logs[rows[-1]])
            cells.append(int(rows[np.abs(logs[rows] - wanted).argmin()]))
    return list(dict.fromkeys(cells))


def _learn(knowledge: Knowledge, free: _Free, known: Known) -> Choice | Ending:
    """The largest expected fall of the target's variance per cost; runs under way count as seen."""
    space, settings = knowledge.space, knowledge.settings
    target = knowledge.target
    assert target is not None
    noise = knowledge.belief.noise_of(space.curve)
    belief = _with_pending(knowledge, noise, known)
    near = np.abs(np.log(space.params) - knowledge.optima[space.curve]) <= constants.REACH * DECADE
    rows = np.flatnonzero(free.cells & near)
    if len(rows) == 0:
        return Ending(reason="no point near the expected optima is left that fits into the FLOPs")
    cost = _price_of_flops(free, settings) * free.price[rows] / _scale(settings.max_flops, space)
    cost += 1 / _scale_runs(settings.max_runs, space)
    worth = gains(belief, target, knowledge.jacobian[rows], noise[rows])
    best = int((worth / cost).argmax())
    before, after = knowledge.standard_error(belief), None
    if before is not None:
        after = float(np.sqrt(max(before**2 - worth[best], 0.0)))
    cell = int(rows[best])
    why = (
        f"of {len(rows)} points the largest expected fall of the target's variance per cost: standard error "
        f"{before:.3g} to {after:.3g}"
    )
    return _choice(free, cell, "learn", why, after)


def _scale(max_flops: float, space: Space) -> float:
    """FLOPs that cost counts in; without a limit those of nine runs a curve."""
    return max_flops if np.isfinite(max_flops) else 9 * float(np.sum(space.budgets))


def _price_of_flops(free: _Free, settings: Settings) -> float:
    """Less than 1 where both are limited and the runs will be used up first: FLOPs that would be left over are cheap."""
    if settings.max_runs >= UNLIMITED or not np.isfinite(settings.max_flops):
        return 1.0
    runs, flops = 1 - free.runs / settings.max_runs, 1 - free.flops / settings.max_flops
    return 1.0 if flops <= runs else (runs / flops) ** constants.PLENTY


def _scale_runs(max_runs: int, space: Space) -> float:
    return float(min(max_runs, 9 * len(space.budgets)))


def _with_pending(knowledge: Knowledge, noise: Array, known: Known) -> Belief:
    cells = sorted(knowledge.space.places[run] for run in known.pending if run in knowledge.space.places)
    return absorb(knowledge.belief, knowledge.jacobian[cells], noise[cells]) if cells else knowledge.belief


def _floor(knowledge: Knowledge, free: _Free) -> int | None:
    """The best cell of a curve with three sizes or more that has too few on one side, where that costs little."""
    space, settings = knowledge.space, knowledge.settings
    logs = np.log(space.params)
    limit = constants.FLOOR_SHARE * _scale(settings.max_flops, space)
    for curve, optimum in enumerate(knowledge.optima):
        mine = (space.curve == curve) & (free.taken > 0)
        if mine.sum() < 3:
            continue
        for side in (-1, 1):
            beyond = (logs - optimum) * side > 0
            if (mine & beyond).sum() >= constants.FLOOR_SIZES:
                continue
            room = free.cells & (space.curve == curve) & beyond & (free.taken == 0) & (free.price <= limit)
            rows = np.flatnonzero(room)
            if len(rows):
                wanted = optimum + side * 0.4 * DECADE
                return int(rows[np.abs(logs[rows] - wanted).argmin()])
    return None


def _symmetric(knowledge: Knowledge, free: _Free) -> Choice | None:
    """The least filled curve's next size of a bracket that lies evenly around its minimum; cheap curves first."""
    why = "law and parabolas disagree: back to symmetric brackets around each curve's minimum"
    if knowledge.target is None:
        why = "the law has no optimum at the target yet: symmetric brackets around each curve's minimum"
    space = knowledge.space
    counts = [int(free.taken[space.curve == curve].sum()) for curve in range(len(space.budgets))]
    for curve in sorted(range(len(counts)), key=lambda curve: (counts[curve], curve)):
        for log_params in _symmetric_sizes(knowledge, curve):
            cell = free.nearest(curve, log_params)
            if cell is not None and abs(np.log(space.params[cell]) - log_params) < 0.13 * DECADE:
                return _choice(free, cell, "symmetric", why)
    return None


def _symmetric_sizes(knowledge: Knowledge, curve: int) -> Iterator[float]:
    """Sizes around the curve's minimum that no run is near to, the middle first."""
    space = knowledge.space
    seen = np.log(space.params[knowledge.results.cells[space.curve[knowledge.results.cells] == curve]])
    for size in constants.SYMMETRIC_SIZES:
        wanted = float(knowledge.optima[curve]) + size * DECADE
        if len(seen) == 0 or np.abs(seen - wanted).min() > 0.12 * DECADE:
            yield wanted
