"""From a sweep to its points: exact N, D and FLOPs of every run, and every point left out with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from orchestrator.cost import CostModel
from orchestrator.errors import SweepError
from orchestrator.planning.limits import check_data, check_tokens, limits_of, replicates, with_winners, within_text
from orchestrator.planning.points import Corpus, DroppedPoint, Plan, Point
from orchestrator.planning.shapes import candidate_shapes, curve_shapes
from orchestrator.planning.specs import batch_contexts_for, make_spec, steps_for
from orchestrator.planning.trunks import share_trunks
from orchestrator.sweep import Budget, Seeds, Sweep, Variant, fresh_seeds, seed_list
from trainer import RunSpec, Shape, SpecError, count_params, flops_per_token
from trainer.identity import run_ids

BUDGET_TOLERANCE = 0.01
"""Largest relative difference between a budget and the FLOPs that whole steps achieve; a point beyond it is dropped."""

ShapesOf = Callable[[Sweep, Budget, int], list[Shape]]
"""(sweep, budget, token ids) -> the shapes of a curve."""


def plan(sweep: Sweep, corpus: Corpus, cost: CostModel) -> Plan:
    """Plan every point of a sweep: those of its grid, or the candidates of another sampler.

    Raises:
        SweepError: No point is left, or a point needs more text than the sweep consents to.
    """
    grid = _plan(sweep, corpus, cost, curve_shapes, seed_list)
    grid = replace(grid, points=share_trunks(sweep, grid.points))
    check_data(grid)
    if sweep.sampler == "grid":
        check_tokens(grid)
    if sweep.retrain is not None:
        grid = with_winners(grid, _retrained(sweep, corpus, cost, curve_shapes))
    if sweep.sampler == "grid":
        return grid
    made = _plan(sweep, corpus, cost, candidate_shapes, replicates)
    if sweep.retrain is not None:
        made = replace(made, points=(*made.points, *_retrained(sweep, corpus, cost, candidate_shapes)))
    return replace(within_text(made), limits=limits_of(grid))


def _retrained(sweep: Sweep, corpus: Corpus, cost: CostModel, shapes_of: ShapesOf) -> tuple[Point, ...]:
    """Every try on fresh seeds: the candidates of which a point's best one is run."""
    fresh = fresh_seeds(sweep.retrain or 0)
    made = _plan(sweep, corpus, cost, shapes_of, lambda seeds: fresh)
    return tuple(replace(point, retrained=True) for point in made.points)


def _plan(
    sweep: Sweep, corpus: Corpus, cost: CostModel, shapes_of: ShapesOf, seeds_of: Callable[[Seeds], list[int]]
) -> Plan:
    points: dict[str, Point] = {}
    dropped: list[DroppedPoint] = []
    for curve, budget, variant in _curves(sweep):
        for shape in shapes_of(variant.sweep, budget, corpus.vocab):
            made = _curve_point(variant, corpus, cost, curve, budget, shape, seeds_of)
            if isinstance(made, DroppedPoint):
                dropped.append(made)
                continue
            twice = [point for point in made if _twice(points, point)]
            dropped.extend(_repeated(points[point.run_id], point) for point in twice)
            kept = made if not twice else (point for point in made if not _twice(points, point))
            points.update((point.run_id, point) for point in kept)
    if not points:
        reasons = "; ".join(sorted({drop.reason for drop in dropped})[:3])
        raise SweepError(f"no point of sweep {sweep.name} can be run; expected at least one. {reasons}")
    return Plan(sweep=sweep, corpus=corpus, points=tuple(points.values()), dropped=tuple(dropped))


def _curves(sweep: Sweep) -> Iterator[tuple[int, Budget, Variant]]:
    """Budgets by rising FLOPs, each under every setting, with the number of its curve; tuned axes share a curve."""
    pairs = [(budget, variant) for variant in sweep.variants() for budget in variant.sweep.all_budgets]
    numbers: dict[tuple[float, str | None], int] = {}
    for budget, variant in sorted(pairs, key=lambda pair: pair[0].flops):
        yield numbers.setdefault((budget.flops, variant.setting), len(numbers)), budget, variant


def _twice(points: Mapping[str, Point], point: Point) -> bool:
    """Whether another variant plans the same run."""
    known = points.get(point.run_id)
    return known is not None and (known.setting, known.tuned) != (point.setting, point.tuned)


def _repeated(known: Point, point: Point) -> DroppedPoint:
    """A value of a tuned axis that comes to a run which another value has made.

    Raises:
        SweepError: The two are of different settings, which then cannot be compared.
    """
    if known.setting != point.setting:
        raise SweepError(
            f"settings {known.setting} and {point.setting} plan the same run ({point.params:,} parameters at "
            f"{point.budget:g} FLOPs); expected settings that differ in every run. Remove one of them."
        )
    return DroppedPoint(
        budget=point.budget,
        params=point.params,
        reason=f"{point.tuned} is the same run as {known.tuned}. Choose values that are further apart.",
    )


def _curve_point(
    variant: Variant,
    corpus: Corpus,
    cost: CostModel,
    curve: int,
    budget: Budget,
    shape: Shape,
    seeds_of: Callable[[Seeds], list[int]],
) -> list[Point] | DroppedPoint:
    """One point for every seed, or the reason why there is none."""
    sweep = variant.sweep
    per_token = flops_per_token(shape, sweep.counting.flops, sweep.counting.params)
    params = count_params(shape).under(sweep.counting.params)
    wanted_tokens = budget.flops / per_token
    batch_contexts = batch_contexts_for(sweep, wanted_tokens)
    batch_tokens = batch_contexts * sweep.model.context
    steps, ramp_steps = steps_for(sweep, wanted_tokens, batch_contexts)

    def drop(reason: str) -> DroppedPoint:
        return DroppedPoint(budget=budget.flops, params=params, reason=reason)

    if steps < sweep.min_steps:
        return drop(
            f"{budget.flops:g} FLOPs buys {steps} steps of a {params:,}-parameter model at {batch_tokens} tokens a "
            "step; "
            f"min_steps is {sweep.min_steps}. Use smaller sizes or a smaller batch."
        )
    seeds = seeds_of(budget.seeds if budget.seeds is not None else sweep.seeds)
    try:
        spec = make_spec(sweep, corpus, shape, steps, batch_contexts, seeds[0], ramp_steps)
    except SpecError as error:
        return drop(str(error))
    flops = float(spec.tokens * per_token)
    if abs(flops / budget.flops - 1) > BUDGET_TOLERANCE:
        return drop(
            f"{steps} whole steps spend {flops:.4g} FLOPs, {flops / budget.flops - 1:+.1%} off the budget "
            f"{budget.flops:g}; "
            f"the limit is {BUDGET_TOLERANCE:.0%}. Use a smaller batch."
        )
    seconds = cost.seconds(spec)
    return [
        Point(
            run_id=identity,
            curve=curve,
            budget=budget.flops,
            params=params,
            flops=flops,
            spec=_reseeded(spec, seed),
            seconds=seconds,
            setting=variant.setting,
            tuned=variant.tuned,
            target=sweep.ladder is not None and budget is sweep.ladder.target,
        )
        for seed, identity in zip(seeds, run_ids(spec, seeds), strict=True)
    ]


def _reseeded(spec: RunSpec, seed: int) -> RunSpec:
    """`replace(spec, seed=seed)` in a fifth of its time: what it would check again does not depend on the seed."""
    twin = object.__new__(RunSpec)
    for name, value in vars(spec).items():
        object.__setattr__(twin, name, value)
    object.__setattr__(twin, "seed", seed)
    return twin
