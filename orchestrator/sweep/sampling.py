"""Who proposes points, for what, and within which limits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.sweep.sections import Section, Whole


class Sampling(Section):
    """What a sampler other than `grid` is for, and what it may spend; what is left out is as the planned grid."""

    target: Literal["params", "exponent", "loss"] = Field(
        "params", description="What `isoflop` learns: log N* at `target_flops`, its exponent there, or the loss there."
    )
    target_flops: float | None = Field(
        None, gt=0, description="Budget that the sweep is for; by default ten times the largest curve's."
    )
    max_flops: float | None = Field(None, gt=0, description="FLOPs that all runs may cost; by default the grid's.")
    max_runs: Whole | None = Field(None, ge=1, description="Runs that may be made; by default the grid's.")
    together: Whole = Field(4, ge=1, le=1024, description="Runs proposed before one of them has a result.")
    synchronous: bool = Field(
        False, description="Propose in whole batches of `together`: a killed driver then changes no point."
    )
    reach: float = Field(
        30.0, gt=1, description="With `sizes.around`: sizes lie within this factor of the expected optimum."
    )
    seed: Whole = Field(0, ge=0, description="Seed of samplers that draw by chance.")


SAMPLERS = ("grid", "isoflop", "qmc", "random", "tpe", "gp")
