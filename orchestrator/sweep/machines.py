"""What a run needs of a machine, what that costs, and when a sweep has spent enough."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import Field, field_validator, model_validator

from orchestrator.sweep import placeholders
from orchestrator.sweep.sections import Section


class Resources(Section):
    """What Ray reserves for one run, and how the run uses it."""

    cpus: float = Field(1, gt=0, description="CPU cores, which are also the run's threads.")
    gpus: float = Field(
        0,
        ge=0,
        description="GPUs; fractions share one. `auto` is 1 with `pack`. More than one is for a trainer that is a command.",
    )
    pack: bool = Field(
        False, description="Whether runs share GPUs, each with the part that the memory model says; see `running.md`."
    )
    gpu_memory: float | None = Field(
        None, gt=0, description="Bytes of one GPU's memory, for `pack`; by default what the nodes tell."
    )
    memory: float | None = Field(None, gt=0, description="Bytes of host memory to reserve.")
    custom: dict[str, float] = Field(default_factory=dict, description="Custom Ray resources, such as {spot: 1}.")
    compile: bool = Field(
        False,
        description="Whether the gradient of a transformer without experts is compiled, for runs of many minutes; see "
        "[compiled gradients](running.md#compiled-gradients).",
    )

    @model_validator(mode="before")
    @classmethod
    def _automatic(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("gpus") == "auto":
            return values | {"gpus": 1, "pack": True}
        return values

    @model_validator(mode="after")
    def _whole_above_one(self) -> Resources:
        if self.pack and self.gpus != 1:
            raise ValueError(f"gpus is {self.gpus:g} with pack; expected auto, or no pack. Use gpus: auto.")
        if self.gpus > 1 and not self.gpus.is_integer():
            raise ValueError(
                f"gpus is {self.gpus:g}; expected a fraction of one GPU, or whole ones. Use gpus: {max(1, round(self.gpus))}."
            )
        return self


class Command(Section):
    """A command that trains a run, in place of a function."""

    command: list[str] = Field(
        min_length=1,
        description="Program and arguments, started without a shell; `{spec}`, `{record}`, `{model.width}` and so on "
        "are filled in. See [bring your own trainer](bring-your-own-trainer.md).",
    )

    @field_validator("command")
    @classmethod
    def _known_placeholders(cls, words: list[str]) -> list[str]:
        for name in placeholders.PATTERN.findall(" ".join(words)):
            if name.partition(".")[0] not in placeholders.KNOWN:
                close = difflib.get_close_matches(name, placeholders.KNOWN, n=1)
                hint = f'Did you mean "{{{close[0]}}}"?' if close else f"Known: {', '.join(placeholders.KNOWN)}."
                raise ValueError(f"{{{name}}} is no placeholder; expected one that a run can fill in. {hint}")
        return words


class Cost(Section):
    """What a worker costs, by your own figures: for estimates of money and energy, and for `stop.max_cost`."""

    per_gpu_hour: float | None = Field(None, ge=0, description="Price of one GPU for an hour.")
    per_cpu_hour: float | None = Field(None, ge=0, description="Price of one CPU core for an hour.")
    currency: str = Field("USD", min_length=1, max_length=8, description="Currency of the prices, for display.")
    gpu: str | None = Field(
        None, description="The GPU, such as h100: a share of its peak makes the first guess of the time."
    )
    watts_per_gpu: float | None = Field(None, ge=0, description="Power of one busy GPU, such as 700 for an H100 SXM.")
    watts_per_cpu: float | None = Field(None, ge=0, description="Power of one busy CPU core.")

    @field_validator("gpu")
    @classmethod
    def _known_gpu(cls, name: str | None) -> str | None:
        from analysis.laws.models import ACCELERATORS

        if name is None or name in ACCELERATORS:
            return name
        raise ValueError(f"{name!r} has no known peak; expected one of {', '.join(ACCELERATORS)}. Leave it out.")


class Stop(Section):
    """When to start no more runs; what is in flight is finished.

    FLOPs, GPU hours and money are reserved before a run starts, and what it did not use is free again when it ends:
    a run that does not fit into what is left is not started.
    """

    max_flops: float | None = Field(None, gt=0, description="FLOPs spent, retries included.")
    max_gpu_hours: float | None = Field(None, gt=0, description="GPU hours spent, retries included.")
    max_cost: float | None = Field(None, gt=0, description="Money spent by the prices of `cost`, retries included.")
    max_hours: float | None = Field(None, gt=0, description="Hours of one driver's life.")
    target_interval: float | None = Field(
        None,
        gt=0,
        description="For sampler isoflop: width of the target's 90 % interval that is narrow enough, in decades "
        "of N*, or in units of the exponent or the loss.",
    )
