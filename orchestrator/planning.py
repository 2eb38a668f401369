"""From a sweep to its points: exact N, D and FLOPs of every run, and every point left out with its reason."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.cost import CostModel
from orchestrator.errors import SweepError
from orchestrator.sweep import BatchRule, Budget, RateRule, Seeds, Sizes, Sweep, seed_list
from trainer import (
    AdamW,
    Data,
    Parametrization,
    RunSpec,
    Schedule,
    SpecError,
    Transformer,
    count_params,
    flops_per_token,
    recipe,
    run_id,
)
from trainer.shapes import ShapeRule, nearest_shape

CANDIDATES = 61
"""Wanted sizes that a sampler's candidates are looked for at, evenly in log N (chosen: 5 % apart at a reach of 30)."""

REPLICATES = 3
"""Seeds of each candidate, so that noise can be measured where it matters (chosen)."""

BUDGET_TOLERANCE = 0.01
"""Largest relative difference between a budget and the FLOPs that whole steps achieve; a point beyond it is dropped."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What planning must know of the text.

    Attributes:
        hash: Content hash of the snapshot; empty before there is one.
        train_tokens: Distinct training tokens; an estimate before there is a snapshot.
        exact: Whether a snapshot was read.
    """

    hash: str
    train_tokens: int
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run to be made: a point (N, D) of a curve, with its seed.

    Attributes:
        run_id: Identity of the run.
        curve: Number of the curve, from 0 at the smallest budget.
        budget: FLOPs intended.
        params: N under the sweep's convention.
        flops: FLOPs of the training, under the sweep's rule.
        spec: Everything that decides the result.
        seconds: Predicted wall time on one worker.
    """

    run_id: str
    curve: int
    budget: float
    params: int
    flops: float
    spec: RunSpec
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DroppedPoint:
    """A point that is not run.

    Attributes:
        budget: FLOPs of its curve.
        params: N under the sweep's convention.
        reason: Why, with what to do.
    """

    budget: float
    params: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a sampler may spend where the plan's points are candidates.

    Attributes:
        runs: Runs at most.
        flops: FLOPs at most.
        centres: Middle size N of the planned grid on each curve: where its optimum is expected.
    """

    runs: int
    flops: float
    centres: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All points of a sweep, cheapest curves first, and those left out.

    With a sampler other than `grid` the points are candidates, of which `limits` says how many are run.
    """

    sweep: Sweep
    corpus: Corpus
    points: tuple[Point, ...]
    dropped: tuple[DroppedPoint, ...]
    limits: Limits | None = None

    @property
    def runs(self) -> int:
        """Runs that will be made, at most."""
        return len(self.points) if self.limits is None else self.limits.runs

    @property
    def flops(self) -> float:
        """Training FLOPs of all runs that will be made, at most."""
        return self._all_flops if self.limits is None else min(self.limits.flops, self._all_flops)

    @property
    def seconds(self) -> float:
        """Predicted worker seconds of these; of candidates, in proportion to FLOPs."""
        return math.fsum(point.seconds for point in self.points) * self.flops / self._all_flops

    @property
    def _all_flops(self) -> float:
        return math.fsum(point.flops for point in self.points)


def plan(sweep: Sweep, corpus: Corpus, cost: CostModel) -> Plan:
    """Plan every point of a sweep: those of its grid, or the candidates of another sampler.

    Raises:
        SweepError: No point is left, or a point needs more text than the sweep consents to.
    """
    grid = _plan(sweep, corpus, cost, curve_shapes)
    if sweep.sampler == "grid":
        _check_tokens(grid)
        return grid
    made = _within_text(_plan(_with_replicates(sweep), corpus, cost, candidate_shapes))
    flops = sweep.sampling.max_flops or grid.flops
    limits = Limits(runs=sweep.sampling.max_runs or len(grid.points), flops=flops, centres=_centres(grid))
    return replace(made, sweep=sweep, limits=limits)


def _centres(grid: Plan) -> dict[int, float]:
    sizes: dict[int, list[int]] = {}
    for point in grid.points:
        sizes.setdefault(point.curve, []).append(point.params)
    return {curve: math.sqrt(min(params) * max(params)) for curve, params in sizes.items()}


def _plan(
    sweep: Sweep, corpus: Corpus, cost: CostModel, shapes_of: Callable[[Sweep, Budget], list[Transformer]]
) -> Plan:
    points: dict[str, Point] = {}
    dropped: list[DroppedPoint] = []
    for curve, budget in enumerate(sorted(sweep.budgets, key=lambda budget: budget.flops)):
        for shape in shapes_of(sweep, budget):
            made = _curve_point(sweep, corpus, cost, curve, budget, shape)
            if isinstance(made, DroppedPoint):
                dropped.append(made)
            else:
                points.update((point.run_id, point) for point in made)
    if not points:
        reasons = "; ".join(sorted({drop.reason for drop in dropped})[:3])
        raise SweepError(f"no point of sweep {sweep.name} can be run; expected at least one. {reasons}")
    return Plan(sweep=sweep, corpus=corpus, points=tuple(points.values()), dropped=tuple(dropped))


def candidate_shapes(sweep: Sweep, budget: Budget) -> list[Transformer]:
    """Shapes that a sampler may choose among on one curve, in order of N.

    Listed shapes are taken as they are; a range is filled with the shapes that exist in it, and so is the neighbourhood
    of an expected optimum, out to `sampling.reach`.

    Raises:
        SweepError: See `curve_shapes`.
    """
    sizes = budget.sizes or sweep.sizes
    assert sizes is not None
    if sizes.shapes is not None:
        return curve_shapes(sweep, budget)
    if sizes.range is not None:
        low, high = sizes.range.min, sizes.range.max
    else:
        assert sizes.around is not None
        around = sizes.around
        reach = max(sweep.sampling.reach, around.factor)
        centre = around.params * (budget.flops / around.at) ** around.exponent
        low, high = centre / reach, centre * reach
    rule, convention = shape_rule(sweep), sweep.counting.params
    shapes = set()
    for index in range(CANDIDATES):
        with contextlib.suppress(SpecError):  # below the smallest shape there is
            shapes.add(nearest_shape(low * (high / low) ** (index / (CANDIDATES - 1)), rule, convention))
    return sorted(shapes, key=lambda shape: (count_params(shape).under(convention), shape.width))


def _with_replicates(sweep: Sweep) -> Sweep:
    """The sweep with enough seeds of each point to know the noise, where seeds are only counted."""

    def enough(seeds: Seeds | None) -> Seeds | None:
        return max(seeds, REPLICATES) if isinstance(seeds, int) else seeds

    budgets = [budget.model_copy(update={"seeds": enough(budget.seeds)}) for budget in sweep.budgets]
    return sweep.model_copy(update={"seeds": enough(sweep.seeds), "budgets": budgets})


def _within_text(made: Plan) -> Plan:
    """Candidates that the text suffices for; the others are dropped with their reason."""
    allowed = made.sweep.data.allow_epochs * made.corpus.train_tokens
    kept = tuple(point for point in made.points if point.spec.tokens <= allowed)
    if not kept:
        _check_tokens(made)
    hungry = {(point.budget, point.params): point.spec.tokens for point in made.points if point.spec.tokens > allowed}
    dropped = [
        DroppedPoint(
            budget=budget, params=params,
            reason=f"needs {tokens:.2g} tokens, {allowed:.2g} are allowed. Set data.allow_epochs, or use more text.",
        )
        for (budget, params), tokens in hungry.items()
    ]  # fmt: skip
    return replace(made, points=kept, dropped=(*made.dropped, *dropped))


def curve_shapes(sweep: Sweep, budget: Budget) -> list[Transformer]:
    """Shapes of one curve in order of N, each once; several wanted sizes may fall on one shape.

    Raises:
        SweepError: A listed shape cannot exist, or no shape is near a wanted size.
    """
    sizes = budget.sizes or sweep.sizes
    assert sizes is not None
    rule = shape_rule(sweep)
    convention = sweep.counting.params
    try:
        if sizes.shapes is not None:
            shapes = [rule.shape(listed.width, listed.layers) for listed in sizes.shapes]
        else:
            shapes = [nearest_shape(params, rule, convention) for params in _wanted_params(sizes, budget.flops)]
    except SpecError as error:
        raise SweepError(f"budget {budget.flops:g}: {error}") from None
    return sorted(dict.fromkeys(shapes), key=lambda shape: (count_params(shape).under(convention), shape.width))


def shape_rule(sweep: Sweep) -> ShapeRule:
    """The sweep's rule from N to a shape."""
    model = sweep.model.model_dump(exclude={"family"})
    return ShapeRule(vocab=256, **model)


def _wanted_params(sizes: Sizes, flops: float) -> Iterator[float]:
    if sizes.range is not None:
        low, high, count = sizes.range.min, sizes.range.max, sizes.range.count
    else:
        around = sizes.around
        assert around is not None
        centre = around.params * (flops / around.at) ** around.exponent
        low, high, count = centre / around.factor, centre * around.factor, around.count
    for index in range(count):
        share = index / (count - 1) if count > 1 else 0.5
        yield low * (high / low) ** share


def _curve_point(
    sweep: Sweep, corpus: Corpus, cost: CostModel, curve: int, budget: Budget, shape: Transformer
) -> list[Point] | DroppedPoint:
    """One point for every seed, or the reason why there is none."""
    per_token = flops_per_token(shape, sweep.counting.flops, sweep.counting.params)
    params = count_params(shape).under(sweep.counting.params)
    wanted_tokens = budget.flops / per_token
    batch_contexts = batch_contexts_for(sweep, wanted_tokens)
    batch_tokens = batch_contexts * sweep.model.context
    steps = round(wanted_tokens / batch_tokens)

    def drop(reason: str) -> DroppedPoint:
        return DroppedPoint(budget=budget.flops, params=params, reason=reason)

    if steps < sweep.min_steps:
        return drop(
            f"{budget.flops:g} FLOPs buys {steps} steps of a {params:,}-parameter model at {batch_tokens} tokens a "
            "step; "
            f"min_steps is {sweep.min_steps}. Use smaller sizes or a smaller batch."
        )
    flops = float(steps * batch_tokens * per_token)
    if abs(flops / budget.flops - 1) > BUDGET_TOLERANCE:
        return drop(
            f"{steps} whole steps spend {flops:.4g} FLOPs, {flops / budget.flops - 1:+.1%} off the budget "
            f"{budget.flops:g}; "
            f"the limit is {BUDGET_TOLERANCE:.0%}. Use a smaller batch."
        )
    seeds = seed_list(budget.seeds if budget.seeds is not None else sweep.seeds)
    specs = [_spec(sweep, corpus, shape, steps, batch_contexts, seed) for seed in seeds]
    seconds = cost.seconds(specs[0])
    return [
        Point(
            run_id=run_id(spec),
            curve=curve,
            budget=budget.flops,
            params=params,
            flops=flops,
            spec=spec,
            seconds=seconds,
        )
        for spec in specs
    ]


def batch_contexts_for(sweep: Sweep, tokens: float) -> int:
    """Whole windows per step for a run of `tokens`, by the sweep's batch rule."""
    rule = sweep.batch
    if isinstance(rule, BatchRule):
        return recipe.batch_contexts(tokens, sweep.model.context, coefficient=rule.coefficient, exponent=rule.exponent)
    return max(1, round(rule / sweep.model.context))


def _spec(sweep: Sweep, corpus: Corpus, shape: Transformer, steps: int, batch_contexts: int, seed: int) -> RunSpec:
    batch_tokens = batch_contexts * shape.context
    settings, wanted = sweep.optimizer, sweep.schedule
    warmup = recipe.warmup_steps(steps, share=wanted.warmup_share)
    decay = max(1, round(wanted.decay_share * steps)) if wanted.kind == "wsd" else steps - warmup
    return RunSpec(
        model=shape,
        data=Data(corpus=corpus.hash, heldout_tokens=sweep.data.heldout_tokens),
        steps=steps,
        batch_contexts=batch_contexts,
        optimizer=AdamW(
            learning_rate=_rate(settings.learning_rate, batch_tokens),
            embedding_multiplier=settings.embedding_multiplier,
            head_multiplier=settings.head_multiplier,
            beta1=settings.beta1,
            beta2=recipe.beta2(batch_tokens, half_life_tokens=settings.beta2_half_life_tokens),
            epsilon=settings.epsilon,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
        ),
        schedule=Schedule(
            kind=wanted.kind,
            warmup_steps=warmup,
            decay_steps=min(decay, steps - warmup),
            final_fraction=wanted.final_fraction,
        ),
        parametrization=Parametrization(kind=settings.parametrization, base_width=settings.base_width),
        precision=sweep.precision,
        seed=seed,
        trainer=sweep.trainer,
    )


def _rate(rule: RateRule | float, batch_tokens: int) -> float:
    if isinstance(rule, RateRule):
        return recipe.learning_rate(
            batch_tokens, peak=rule.peak, at_batch_tokens=rule.at_batch_tokens, exponent=rule.exponent
        )
    return rule


def _check_tokens(made: Plan) -> None:
    """Refuse a plan that reads its text more often than the sweep consents to."""
    hungriest = max(made.points, key=lambda point: point.spec.tokens)
    tokens, held = hungriest.spec.tokens, made.corpus.train_tokens
    epochs, allowed = tokens / held, made.sweep.data.allow_epochs
    if epochs > allowed:
        about = "" if made.corpus.exact else "about "
        raise SweepError(
            f"budget {hungriest.budget:g} x {hungriest.params:,} parameters needs {tokens:.2g} tokens, the corpus has "
            f"{about}{held:.2g} ({epochs:.1f} epochs); allowed are {allowed:g}. "
            f"Set data.allow_epochs: {math.ceil(epochs)}, or use more text."
        )


def point_row(sweep: Sweep, point: Point, corpus: Corpus) -> dict[str, Any]:
    """What the results table can say of a point before it is run."""
    spec, shape = point.spec, point.spec.model
    counts = count_params(shape)
    return {
        "run_id": point.run_id,
        "sweep": sweep.name,
        "curve": point.curve,
        "budget": point.budget,
        "params": point.params,
        "params_convention": sweep.counting.params,
        "params_body": counts.body,
        "params_embedding": counts.embedding,
        "params_head": counts.head,
        "params_active": counts.active,
        "params_total": counts.total,
        "tokens": spec.tokens,
        "steps": spec.steps,
        "batch_tokens": spec.batch_tokens,
        "flops": point.flops,
        "flops_rule": sweep.counting.flops,
        "seed": spec.seed,
        "epochs": spec.tokens / corpus.train_tokens,
        "family": sweep.model.family,
        "layers": shape.layers,
        "width": shape.width,
        "heads": shape.heads,
        "ffn_width": shape.ffn_width,
        "context": shape.context,
        "vocab": shape.vocab,
        "activation": shape.activation,
        "tied_head": shape.tied_head,
        "optimizer": sweep.optimizer.name,
        "learning_rate": spec.optimizer.learning_rate,
        "schedule": spec.schedule.kind,
        "warmup_steps": spec.schedule.warmup_steps,
        "precision": spec.precision,
        "recipe": spec.recipe,
        "corpus": corpus.hash,
    }
