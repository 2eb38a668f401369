"""What bounds a plan: the text that there is, and for samplers what the planned grid would have cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.errors import SweepError
from orchestrator.planning.points import DroppedPoint, Limits, Plan, Point, Share
from orchestrator.sweep import Seeds, seed_list
from trainer import TrainerError

REPLICATES = 3
"""Seeds of each candidate, so that noise can be measured where it matters (chosen)."""


def limits_of(grid: Plan) -> Limits:
    """What a sampler may spend: what the sweep says, else as much as the planned grid would have."""
    sampling = grid.sweep.sampling
    runs, flops = sampling.max_runs or grid.runs, sampling.max_flops or grid.flops
    tries = [point for point in grid.points if not point.retrained]
    return Limits(runs=runs, flops=flops, centres=_centres(grid), shares=_shares(tries, runs, flops))


def _shares(points: Sequence[Point], runs: int, flops: float) -> dict[str | None, Share]:
    """What each setting may spend: equal settings have equal shares."""
    spent: dict[str | None, float] = {}
    for point in points:
        spent[point.setting] = spent.get(point.setting, 0.0) + point.share * point.flops
    counts = Counter(point.setting for point in points)
    return {
        setting: Share(
            runs=max(1, runs * counts[setting] // len(points)), flops=flops * mine / math.fsum(spent.values())
        )
        for setting, mine in spent.items()
    }


def _centres(grid: Plan) -> dict[int, float]:
    sizes: dict[int, list[int]] = {}
    for point in grid.points:
        sizes.setdefault(point.curve, []).append(point.params)
    return {curve: math.sqrt(min(params) * max(params)) for curve, params in sizes.items()}


def replicates(seeds: Seeds) -> list[int]:
    """Enough seeds of each point to know the noise, where seeds are only counted."""
    return seed_list(max(seeds, REPLICATES) if isinstance(seeds, int) else seeds)


def with_winners(grid: Plan, fresh: Sequence[Point]) -> Plan:
    """A grid whose best tries are trained again: of each place's candidates one value, on every fresh seed."""
    tries = {(point.curve, point.params, point.tuned) for point in grid.points}
    candidates = [point for point in fresh if (point.curve, point.params, point.tuned) in tries]
    dearest: dict[tuple[int, int, int], float] = {}
    for point in candidates:
        place = point.curve, point.params, point.spec.seed
        dearest[place] = max(point.flops, dearest.get(place, 0.0))
    return replace(
        grid,
        points=(*grid.points, *candidates),
        limits=Limits(
            runs=len(grid.points) + len(dearest),
            flops=grid.flops + math.fsum(dearest.values()),
            centres=_centres(grid),
            shares={},
        ),
    )


def within_text(made: Plan) -> Plan:
    """Candidates that the text suffices for; the others are dropped with their reason."""
    allowed = made.sweep.data.allow_epochs
    kept = tuple(point for point in made.points if _epochs(made, point) <= allowed)
    if not kept:
        check_tokens(made)
    hungry = {(point.budget, point.params): point for point in made.points if _epochs(made, point) > allowed}
    dropped = [
        DroppedPoint(
            budget=budget,
            params=params,
            reason=f"needs {point.spec.tokens:.2g} tokens, "
            f"{allowed * made.corpus.epoch_tokens(point.spec.data):.2g} are allowed. "
            "Set data.allow_epochs, or use more text.",
        )
        for (budget, params), point in hungry.items()
    ]
    return replace(made, points=kept, dropped=(*made.dropped, *dropped))


def check_tokens(made: Plan) -> None:
    """Refuse a plan that reads its text more often than the sweep consents to."""
    lengths = {(point.spec.steps, id(point.spec.data)): point for point in made.points}  # of seeds, any
    hungriest = max(lengths.values(), key=lambda point: _epochs(made, point))
    tokens, held = hungriest.spec.tokens, made.corpus.epoch_tokens(hungriest.spec.data)
    epochs, allowed = tokens / held, made.sweep.data.allow_epochs
    if epochs > allowed:
        about = "" if made.corpus.exact else "about "
        limited = ", limited by data.unique_tokens," if hungriest.spec.data.unique_tokens else ""
        raise SweepError(
            f"budget {hungriest.budget:g} x {hungriest.params:,} parameters needs {tokens:.2g} tokens, the corpus has"
            f"{limited} {about}{held:.2g} ({epochs:.1f} epochs); allowed are {allowed:g}. "
            f"Set data.allow_epochs: {math.ceil(epochs)}, or use more text."
        )


def check_data(made: Plan) -> None:
    """Refuse runs that their text cannot serve: unique tokens, held-out tokens or documents that are too few.

    Raises:
        SweepError: With the reason; nothing is known against text that was not read yet.
    """
    if made.corpus.manifest is None:
        return
    from trainer.data import batches, heldout

    by_part = {(point.spec.model.context, id(point.spec.data)): point.spec for point in made.points}  # seeds share it
    for context, data in dict.fromkeys((spec.model.context, spec.data) for spec in by_part.values()):
        try:
            batches.check(made.corpus.manifest, data, context=context)
            heldout.check(made.corpus.manifest, data, context=context)
        except TrainerError as error:
            raise SweepError(str(error)) from None


def _epochs(made: Plan, point: Point) -> float:
    return point.spec.tokens / made.corpus.epoch_tokens(point.spec.data)
