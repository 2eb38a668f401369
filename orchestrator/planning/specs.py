"""From a shape and its steps to everything that decides a run."""

from __future__ import annotations

from orchestrator.planning.points import Corpus
from orchestrator.sweep import BatchRule, Sweep
from trainer import (
    RECIPE_OF_OTHERS,
    RECIPE_VERSION,
    Data,
    Parametrization,
    RunSpec,
    Schedule,
    Shape,
    SpecError,
    recipe,
)


def batch_contexts_for(sweep: Sweep, tokens: float) -> int:
    """Whole windows per step for a run of `tokens`, by the sweep's batch rule."""
    rule = sweep.batch
    if not isinstance(rule, BatchRule):
        return max(1, round(rule / sweep.model.context))
    multiple = 2**rule.ramp.doublings if rule.ramp else 1  # so that it can be halved as often
    batch = recipe.batch_contexts(
        tokens, sweep.model.context * multiple, coefficient=rule.coefficient, exponent=rule.exponent
    )
    return batch * multiple


def steps_for(sweep: Sweep, tokens: float, batch_contexts: int) -> tuple[int, tuple[int, ...]]:
    """Optimiser steps of a run of about `tokens`, and how many of them have each smaller batch of a ramp."""
    rule, context = sweep.batch, sweep.model.context
    if not isinstance(rule, BatchRule) or rule.ramp is None:
        return round(tokens / (batch_contexts * context)), ()
    doublings = rule.ramp.doublings
    ramp = recipe.ramp_steps(tokens, batch_contexts, context, doublings=doublings, share=rule.ramp.share)
    ramped = sum(count * (batch_contexts >> (doublings - index)) for index, count in enumerate(ramp)) * context
    return sum(ramp) + round((tokens - ramped) / (batch_contexts * context)), ramp


def make_spec(
    sweep: Sweep,
    corpus: Corpus,
    shape: Shape,
    steps: int,
    batch_contexts: int,
    seed: int,
    ramp_steps: tuple[int, ...] = (),
) -> RunSpec:
    """The run of a shape for so many steps, its rates and schedule by the sweep's rules.

    Raises:
        SpecError: Warm-up, decay or ramp do not fit into the steps.
    """
    batch_tokens = batch_contexts * shape.context
    wanted = sweep.schedule
    warmup = wanted.warmup_steps or recipe.warmup_steps(steps, share=wanted.warmup_share)
    if warmup >= steps:
        raise SpecError(
            f"a warm-up of {warmup} steps leaves none of {steps}; expected some to decay in. Shorten schedule.warmup_steps."
        )
    decay = max(1, round(wanted.decay_share * steps)) if wanted.kind == "wsd" else steps - warmup
    return RunSpec(
        model=shape,
        data=Data(
            corpus=corpus.hash,
            heldout_tokens=sweep.data.heldout_tokens,
            weights=sweep.data.weights,
            unique_tokens=sweep.data.unique_tokens,
            during=sweep.evaluation.during,
            probe=sweep.evaluation.probe,
        ),
        steps=steps,
        batch_contexts=batch_contexts,
        optimizer=sweep.optimizer.settings(batch_tokens),
        schedule=Schedule(
            kind=wanted.kind,
            warmup_steps=warmup,
            decay_steps=decay if wanted.trunks else min(decay, steps - warmup),
            final_fraction=wanted.final_fraction,
        ),
        parametrization=Parametrization(kind=sweep.optimizer.parametrization, base_width=sweep.optimizer.base_width),
        precision=sweep.precision,
        seed=seed,
        recipe=RECIPE_VERSION if sweep.trainer_name is None else RECIPE_OF_OTHERS,
        trainer=sweep.trainer_name,
        ramp_steps=ramp_steps,
        noise_every=sweep.evaluation.noise_every,
    )
