"""From a shape and its steps to everything that decides a run."""

from __future__ import annotations

from orchestrator.planning.points import Corpus
from orchestrator.sweep import BatchRule, Sweep
from trainer import Data, Parametrization, RunSpec, Schedule, Transformer, recipe


def batch_contexts_for(sweep: Sweep, tokens: float) -> int:
    """Whole windows per step for a run of `tokens`, by the sweep's batch rule."""
    rule = sweep.batch
    if isinstance(rule, BatchRule):
        return recipe.batch_contexts(tokens, sweep.model.context, coefficient=rule.coefficient, exponent=rule.exponent)
    return max(1, round(rule / sweep.model.context))


def make_spec(sweep: Sweep, corpus: Corpus, shape: Transformer, steps: int, batch_contexts: int, seed: int) -> RunSpec:
    """The run of a shape for so many steps, its rates and schedule by the sweep's rules."""
    batch_tokens = batch_contexts * shape.context
    wanted = sweep.schedule
    warmup = recipe.warmup_steps(steps, share=wanted.warmup_share)
    decay = max(1, round(wanted.decay_share * steps)) if wanted.kind == "wsd" else steps - warmup
    return RunSpec(
        model=shape,
        data=Data(corpus=corpus.hash, heldout_tokens=sweep.data.heldout_tokens),
        steps=steps,
        batch_contexts=batch_contexts,
        optimizer=sweep.optimizer.settings(batch_tokens),
        schedule=Schedule(
            kind=wanted.kind,
            warmup_steps=warmup,
            decay_steps=min(decay, steps - warmup),
            final_fraction=wanted.final_fraction,
        ),
        parametrization=Parametrization(kind=sweep.optimizer.parametrization, base_width=sweep.optimizer.base_width),
        precision=sweep.precision,
        seed=seed,
        trainer=sweep.trainer,
    )
