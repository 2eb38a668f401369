"""What a sweep file says of a run's recipe beside its optimiser: batch, schedule, and how N and C are counted."""

from __future__ import annotations

from pydantic import Field, model_validator

from orchestrator.sweep.sections import Section, Whole
from trainer.counting import FlopsRule, ParamConvention
from trainer.spec import ScheduleKind


class Ramp(Section):
    """A batch that grows during training, by doubling."""

    doublings: Whole = Field(ge=1, le=10, description="Smaller batches: of 2 the first is a quarter of the whole.")
    share: float = Field(
        gt=0, lt=1, description="Share of D that is read in smaller batches, each an equal part of it."
    )


class BatchRule(Section):
    """Tokens per step as coefficient x D^exponent, in whole windows."""

    coefficient: float = Field(gt=0, description="Tokens per step at D = 1.")
    exponent: float = Field(
        0.4, ge=0, le=1, description="Exponent of D; .4 is near the measured optimum (nanochat .383)."
    )
    ramp: Ramp | None = Field(None, description="How the batch grows to that; by default it is the same all along.")


class Schedule(Section):
    """Learning rate over a run; it always ends at exactly the last step."""

    kind: ScheduleKind = Field("linear", description="`linear` or `cosine` to the end, or `wsd`: stable, then decay.")
    warmup_share: float = Field(0.05, ge=0, le=0.5, description="Warm-up as a share of the steps.")
    warmup_steps: Whole | None = Field(
        None, ge=1, description="Warm-up of so many steps at every D, in place of a share."
    )
    decay_share: float = Field(0.2, gt=0, le=1, description="For `wsd`: the final decay as a share of the steps.")
    final_fraction: float = Field(0.0, ge=0, lt=1, description="Rate at the end, over the peak.")
    trunks: bool = Field(
        False,
        description="For `wsd`: runs that differ in D alone share their steps until the decay. Needs `warmup_steps` "
        "and a `batch` that is a number.",
    )

    @model_validator(mode="after")
    def _trunks_are_shared(self) -> Schedule:
        if self.trunks and (self.kind != "wsd" or self.warmup_steps is None):
            raise ValueError(
                f"trunks with kind {self.kind} and warmup_steps {self.warmup_steps}; expected wsd and a warm-up that "
                "is the same at every D. For example schedule: {kind: wsd, warmup_steps: 100, trunks: true}."
            )
        return self


class Counting(Section):
    """Conventions; they are written into every row and never mixed."""

    params: ParamConvention = Field(
        "blocks+head",
        description="What N counts: matrices of the blocks and the head, the blocks alone, everything stored, or blocks "
        "and head without the experts that a token does not use.",
    )
    flops: FlopsRule = Field("exact", description="How C counts: exact (full attention), exact-causal (half), or 6nd.")
