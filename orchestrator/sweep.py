"""The sweep file's models: what is to be trained. Flags of the command line say only where and how many at once.

The reference in `docs/sweep-file.md` is generated from these models: every field's description is written there.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from orchestrator import axes as crossing
from orchestrator import placeholders
from orchestrator.architectures import Model
from orchestrator.optimizing import Optimizer
from orchestrator.sections import Section, Whole
from orchestrator.texts import Data, Evaluation
from trainer.counting import FlopsRule, ParamConvention
from trainer.spec import Precision, ScheduleKind


class ListedShape(Section):
    """One shape by hand; what is left out follows the `model` section's rule."""

    width: Whole = Field(ge=2, description="Residual width.")
    layers: Whole | None = Field(None, ge=1, description="Blocks; by default the model's rule.")


class SizeRange(Section):
    """Sizes spread evenly in log N between two ends, the same on every curve."""

    min: float = Field(gt=0, description="Smallest N, under `counting.params`.")
    max: float = Field(gt=0, description="Largest N.")
    count: Whole = Field(7, ge=1, description="Sizes on each curve.")

    @model_validator(mode="after")
    def _ordered(self) -> SizeRange:
        if self.max < self.min:
            raise ValueError(f"max {self.max:g} is below min {self.min:g}; expected max >= min. Swap them.")
        return self


class SizesAround(Section):
    """Sizes spread evenly in log N around an expected optimum that follows the budget: params x (C / at)^exponent."""

    params: float = Field(gt=0, description="Expected optimum N at the budget `at`.")
    at: float = Field(gt=0, description="Budget in FLOPs at which `params` is expected.")
    exponent: float = Field(0.5, description="Expected exponent a of N* in C.")
    factor: float = Field(4.0, gt=1, description="Sizes reach from the optimum / factor to the optimum x factor.")
    count: Whole = Field(7, ge=1, description="Sizes on each curve.")


class Sizes(Section):
    """Which models each curve trains: exactly one of the three."""

    shapes: list[ListedShape] | None = Field(None, description="Shapes by hand.")
    range: SizeRange | None = Field(None, description="The same range of N on every curve.")
    around: SizesAround | None = Field(None, description="A range around an optimum that moves with the budget.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Sizes:
        given = [name for name in ("shapes", "range", "around") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{len(given)} of shapes, range and around are given ({', '.join(given) or 'none'}); expected "
                "exactly one. "
                "For example sizes: {range: {min: 1e6, max: 1e8, count: 7}}."
            )
        return self


Seeds = Annotated[Whole, Field(ge=1, le=1000)] | list[Annotated[Whole, Field(ge=0)]]


class Budget(Section):
    """One IsoFLOP curve."""

    flops: float = Field(gt=0, description="Training compute C of every run on the curve.")
    sizes: Sizes | None = Field(None, description="Sizes of this curve, in place of the sweep's.")
    seeds: Seeds | None = Field(None, description="Seeds of this curve, in place of the sweep's.")


def _budget(value: Any) -> Any:
    return {"flops": value} if isinstance(value, (int, float, str)) else value


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


class Resources(Section):
    """What Ray reserves for one run."""

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


class Ladder(Section):
    """A larger budget that is predicted from the sweep's own before any of its runs starts, then trained and scored."""

    target: Annotated[Budget, BeforeValidator(_budget)] = Field(description="The budget that is predicted.")
    form: str = Field(
        "auto",
        description="Form of the law that predicts (`isoflop laws` lists them); `auto`: whichever predicts the sweep's own "
        "larger budgets best.",
    )


class VariantError(ValueError):
    """A setting, or a value of an axis, with which the sweep is none."""

    def __init__(self, cell: crossing.Cell, values: dict[str, Any], details: list[ErrorDetails]) -> None:
        self.name = " ".join(filter(None, (cell.setting, cell.tuned)))
        self.values = values
        self.details = details
        first = details[0]
        key = ".".join(str(part) for part in first["loc"])
        super().__init__(f"setting {self.name}: {key}: {first['msg']}. Correct it.")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of a sweep's settings, with a value of every axis.

    Attributes:
        setting: What it is called, axes that are tuned over left out; None for a sweep of one setting.
        tuned: Values of the axes that are tuned over; None without such axes.
        sweep: The sweep as it would be with this setting alone.
    """

    setting: str | None
    tuned: str | None
    sweep: Sweep


class Sweep(Section):
    """One sweep: IsoFLOP curves over a family of models."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="Names the default store, runs/<name>.")
    budgets: list[Annotated[Budget, BeforeValidator(_budget)]] = Field(
        min_length=1, description="One IsoFLOP curve each: a number of FLOPs, or an object."
    )
    sizes: Sizes | None = Field(None, description="Which models each curve trains.")
    seeds: Seeds = Field(1, description="Number of seeds per point, or a list of seeds.")
    settings: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]{0,63}$")], dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings to compare, each a name and the keys that it replaces: "
        "`{gelu: {model.activation: gelu}, swiglu: {model.activation: swiglu}}`. The first is the baseline. A setting may have "
        "values of its own for an axis, under `axes`.",
    )
    axes: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="Keys and the values that each takes, crossed with each other and with the settings: "
        "`{optimizer.learning_rate.peak: [2e-3, 4e-3, 8e-3]}`.",
    )
    tune: list[str] = Field(
        default_factory=list,
        description="Axes that are tuned over: of each point the fitted minimum over their values is compared and "
        "fitted. The other axes tell settings apart.",
    )
    sampler: str = Field(
        "grid",
        description="Who proposes points: `grid` runs the whole plan, cheap curves first; `isoflop` what teaches most "
        "per FLOP; `qmc`, `random`, `tpe`, `gp` or the import path of an Optuna sampler, curve by curve.",
    )
    sampling: Sampling = Field(default_factory=Sampling)
    model: Model = Field(default_factory=Model)
    data: Data = Field(default_factory=Data)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    optimizer: Optimizer
    batch: BatchRule | Annotated[Whole, Field(ge=1)] = Field(description="Tokens per step: a number, or a rule of D.")
    schedule: Schedule = Field(default_factory=Schedule)
    trainer: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | Command | None = Field(
        None,
        description="What trains a spec, in place of ours: `module:function` that every node can import, or "
        "`{command: [program, argument, ...]}`.",
    )
    precision: Precision = Field("fp32", description="Arithmetic of the matrix products.")
    min_steps: Whole = Field(50, ge=1, description="A point with fewer steps is dropped.")
    counting: Counting = Field(default_factory=Counting)
    resources: Resources = Field(default_factory=Resources)
    stop: Stop = Field(default_factory=Stop)
    ladder: Ladder | None = Field(None, description="A larger budget to predict, then to train and score.")
    cost: Cost = Field(default_factory=Cost)

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, name: str) -> str:
        if name in SAMPLERS or "." in name:
            return name
        close = difflib.get_close_matches(name, SAMPLERS, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else " Correct the name."
        raise ValueError(
            f"{name!r} is not known; expected one of {', '.join(SAMPLERS)}, or the import path of an Optuna sampler."
            f"{hint}"
        )

    @model_validator(mode="after")
    def _trunks_have_one_batch(self) -> Sweep:
        if not self.schedule.trunks:
            return self
        if isinstance(self.batch, BatchRule):
            raise ValueError(
                "batch is a rule of D and schedule.trunks is on; expected one batch for every D of a shape. "
                "Use a number, such as batch: 1024."
            )
        if self.trainer is not None:
            raise ValueError(
                f"trainer is {self.trainer} and schedule.trunks is on; expected our own trainer, which keeps the state "
                "that runs share. Switch trunks off."
            )
        return self

    @model_validator(mode="after")
    def _trunks_are_not_looked_at(self) -> Sweep:
        if self.schedule.trunks and self.evaluation.during:
            raise ValueError(
                f"evaluation.during is {self.evaluation.during} and schedule.trunks is on; expected no evaluations during "
                "runs that share their beginning. Switch one of them off."
            )
        return self

    @model_validator(mode="after")
    def _every_curve_has_sizes(self) -> Sweep:
        for budget in () if self.settings else self.budgets:
            if budget.sizes is None and self.sizes is None:
                raise ValueError(
                    f"budget {budget.flops:g} has no sizes; expected sizes for the sweep or the budget. Add sizes."
                )
        if self.ladder is not None:
            self._check_ladder(self.ladder.target)
        flops = [budget.flops for budget in self.budgets]
        if len(set(flops)) < len(flops):
            raise ValueError(f"budgets {flops} repeat; expected each once. Use seeds for replicates.")
        return self

    def _check_ladder(self, target: Budget) -> None:
        largest = max(budget.flops for budget in self.budgets)
        if target.flops <= largest:
            raise ValueError(
                f"ladder.target is {target.flops:g} FLOPs and the largest budget {largest:g}; expected more. "
                "Predict a larger budget, such as ten times the largest."
            )
        if target.sizes is None and self.sizes is None:
            raise ValueError("ladder.target has no sizes; expected sizes for the sweep or the target. Add sizes.")
        if len(self.budgets) < 2 or self.sampler != "grid" or self.settings or self.axes:
            raise ValueError(
                f"ladder with {len(self.budgets)} budgets, sampler {self.sampler} and {len(self.settings)} settings; "
                "expected two budgets or more, sampler: grid, and no settings or axes. Leave these out."
            )

    @model_validator(mode="after")
    def _six_n_of_what_is_used(self) -> Sweep:
        used = self.counting.params == "active" or self.model.active_experts == self.model.experts
        if self.counting.flops == "6nd" and not used:
            raise ValueError(
                f"counting.flops is 6nd and N counts all {self.model.experts} experts, of which a token uses "
                f"{self.model.active_experts}; expected FLOPs of what is used. "
                "Set counting.params: active, or counting.flops: exact."
            )
        return self

    @model_validator(mode="after")
    def _several_gpus_for_a_command(self) -> Sweep:
        if self.resources.gpus > 1 and not isinstance(self.trainer, Command):
            raise ValueError(
                f"resources.gpus is {self.resources.gpus:g}; this trainer uses at most one GPU a run. "
                "Use gpus: 1 or a fraction, or a trainer of your own that is a command, such as torchrun."
            )
        if self.resources.pack and isinstance(self.trainer, Command):
            raise ValueError(
                "resources.gpus is auto with a trainer that is a command, whose memory nobody here knows; expected a "
                "number. Use gpus: 1, or the fraction that it needs."
            )
        return self

    @property
    def all_budgets(self) -> list[Budget]:
        """The sweep's own budgets, and the one that a ladder predicts."""
        return self.budgets if self.ladder is None else [*self.budgets, self.ladder.target]

    @property
    def trainer_name(self) -> str | tuple[str, ...] | None:
        """The trainer as a spec names it: `module:function`, the words of a command, or None for ours."""
        return tuple(self.trainer.command) if isinstance(self.trainer, Command) else self.trainer

    @model_validator(mode="after")
    def _limits_have_a_measure(self) -> Sweep:
        if self.stop.max_gpu_hours is not None and not self.resources.gpus:
            raise ValueError(
                f"stop.max_gpu_hours is {self.stop.max_gpu_hours:g} and runs use no GPU; expected resources.gpus above "
                "0. Use stop.max_hours or stop.max_flops."
            )
        prices = (self.cost.per_gpu_hour, self.resources.gpus), (self.cost.per_cpu_hour, self.resources.cpus)
        if self.stop.max_cost is not None and not any(price and amount for price, amount in prices):
            raise ValueError(
                f"stop.max_cost is {self.stop.max_cost:g} and what runs use has no price; expected one. "
                "Add cost: {per_gpu_hour: ...} or cost: {per_cpu_hour: ...}."
            )
        return self

    @model_validator(mode="after")
    def _every_variant_is_a_sweep(self) -> Sweep:
        if wrong := crossing.refusal(self.settings, self.axes, self.tune, self.sampler):
            raise ValueError(wrong)
        for _ in self.variants():
            pass
        return self

    def variants(self) -> Iterator[Variant]:
        """Every setting with every value of every axis, in the order of the file; the sweep itself without any."""
        if not (self.settings or self.axes):
            yield Variant(setting=None, tuned=None, sweep=self)
            return
        given = self.model_dump(exclude_unset=True, exclude={"settings", "axes", "tune"})
        for cell in crossing.cells(self.settings, self.axes, self.tune):
            values = crossing.overridden(given, cell.overrides)
            try:
                variant = Sweep.model_validate(values)
            except ValidationError as error:
                raise VariantError(cell, values, error.errors()) from None
            yield Variant(setting=cell.setting, tuned=cell.tuned, sweep=variant)

    @property
    def content_hash(self) -> str:
        """16 hexadecimal digits over everything the file says, defaults included."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_list(seeds: Seeds) -> list[int]:
    """The seeds as a list: 3 stands for [0, 1, 2]."""
    return list(range(seeds)) if isinstance(seeds, int) else list(seeds)
