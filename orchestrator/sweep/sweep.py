"""A whole sweep file, and the settings that it compares. Flags of the command line say only where and how many at once.

The reference in `docs/sweep-file.md` is generated from these models: every field's description is written there.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from orchestrator.sweep import axes as crossing
from orchestrator.sweep.data import Data, Evaluation
from orchestrator.sweep.machines import Command, Cost, Resources, Stop
from orchestrator.sweep.model import Model
from orchestrator.sweep.optimizer import Optimizer
from orchestrator.sweep.recipe import BatchRule, Counting, Schedule
from orchestrator.sweep.sampling import SAMPLERS, Sampling
from orchestrator.sweep.sections import Section, Whole
from orchestrator.sweep.sizes import FIRST_FRESH_SEED, Budget, Seeds, Sizes, as_budget, fresh_seeds
from trainer.spec import Precision


class Ladder(Section):
    """A larger budget that is predicted from the sweep's own before any of its runs starts, then trained and scored."""

    target: Annotated[Budget, BeforeValidator(as_budget)] = Field(description="The budget that is predicted.")
    form: str = Field(
        "auto",
        description="Form of the law that predicts (`isoflop laws` lists them); `auto`: the gamma form, averaged over the "
        "floors and powers that the sweep's runs leave open.",
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
    budgets: list[Annotated[Budget, BeforeValidator(as_budget)]] = Field(
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
    retrain: Annotated[Whole, Field(ge=1, le=1000)] | None = Field(
        None,
        description="Fresh seeds on which the best try of each point is trained again, once its tries have ended; fits "
        "then take these runs alone. Without it the fitted minimum over the tuned values stands for the point.",
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
    precision: Precision = Field(
        "fp32",
        description="Arithmetic of the matrix products. `bf16` is for GPUs and for processors with bf16 instructions (AVX-512 "
        "BF16, AMX); on others it is 2 to 16 times slower than fp32 (benchmarks/README.md).",
    )
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

    @model_validator(mode="after")
    def _only_ours_is_compiled(self) -> Sweep:
        if self.resources.compile and self.trainer is not None:
            raise ValueError(
                "resources.compile is on with a trainer of your own; expected ours, whose gradient it compiles. Leave compile "
                "out, and compile in your trainer."
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
        if wrong := crossing.refusal(self.settings, self.axes, self.tune):
            raise ValueError(wrong)
        if self.retrain is not None:
            self._check_retrain(self.retrain)
        for _ in self.variants():
            pass
        return self

    def _check_retrain(self, count: int) -> None:
        if not self.tune:
            raise ValueError(
                f"retrain is {count} and tune is empty; expected axes of which the best try can be trained again. Add tune, "
                "or use seeds for replicates."
            )
        lists = [seeds for seeds in (self.seeds, *(budget.seeds for budget in self.budgets)) if isinstance(seeds, list)]
        if taken := sorted(set(fresh_seeds(count)).intersection(chain.from_iterable(lists))):
            raise ValueError(
                f"seeds has {taken[0]}, on which the best try is trained again; expected seeds below {FIRST_FRESH_SEED}. "
                "Use others."
            )

    def variants(self) -> Iterator[Variant]:
        """Every setting with every value of every axis, in the order of the file; the sweep itself without any."""
        if not (self.settings or self.axes):
            yield Variant(setting=None, tuned=None, sweep=self)
            return
        given = self.model_dump(exclude_unset=True, exclude={"settings", "axes", "tune", "retrain"})
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
