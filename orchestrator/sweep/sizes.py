"""IsoFLOP curves of a sweep file: budgets, the sizes of each, and seeds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from orchestrator.sweep.sections import Section, Whole


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


FIRST_FRESH_SEED = 1000
"""First seed on which a winner is trained again: a count of seeds never reaches it, so that raising one moves no winner."""

Seeds = Annotated[Whole, Field(ge=1, le=1000)] | list[Annotated[Whole, Field(ge=0)]]


class Budget(Section):
    """One IsoFLOP curve."""

    flops: float = Field(gt=0, description="Training compute C of every run on the curve.")
    sizes: Sizes | None = Field(None, description="Sizes of this curve, in place of the sweep's.")
    seeds: Seeds | None = Field(None, description="Seeds of this curve, in place of the sweep's.")


def as_budget(value: Any) -> Any:
    """A number stands for a budget of so many FLOPs."""
    return {"flops": value} if isinstance(value, (int, float, str)) else value


def seed_list(seeds: Seeds) -> list[int]:
    """The seeds as a list: 3 stands for [0, 1, 2]."""
    return list(range(seeds)) if isinstance(seeds, int) else list(seeds)


def fresh_seeds(count: int) -> list[int]:
    """Seeds on which the best try of a point is trained again."""
    return list(range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + count))
