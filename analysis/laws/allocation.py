"""Choose N and D for a big run: by budget, by the loss wanted, by the data there is, by GPUs and days."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import LawError
from analysis.fit_values import interval_json
from analysis.fitting.bootstrap import percentile_interval
from analysis.fitting.shapes import SIX_N
from analysis.formfit import FormFit
from analysis.laws.budgets import DEFAULT_MFU, resolve_budget
from analysis.laws.law import Law
from analysis.laws.models import KNOWN_MODELS, KnownModel
from analysis.laws.published import law as published_law
from analysis.laws.repetition import limit_data
from analysis.laws.sizes import SizeCost, size_costs
from analysis.laws.surface import Surface
from analysis.results import FitWarning, Interval

Array = NDArray[np.float64]

BAND_NATS = 0.01
"""Nats above the least loss within which a size is nearly as good (chosen)."""
DRAWS = 200
"""Bootstrap draws that carry a fit's uncertainty into an allocation (chosen)."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """The part of an allocation that inference decides.

    Attributes:
        tokens: Inference tokens over the model's life.
        total_flops: Training and inference together.
        baseline_params: The train-optimal model of the same loss.
        baseline_tokens: Its data.
        baseline_flops: Its training and inference.
        saved: Share of `baseline_flops` that is saved.
    """

    tokens: float
    total_flops: float
    baseline_params: float
    baseline_tokens: float
    baseline_flops: float
    saved: float


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """N and D for a run.

    Attributes:
        goal: What was asked: `train-optimal`, `match-size`, `inference-aware` or `data-limited`.
        law: Name of the law.
        params: N.
        tokens: D.
        loss: Predicted loss; None from a rule without a loss.
        flops: Training FLOPs.
        intervals: For `params`, `tokens`, `loss`, `flops`; None where the law carries no uncertainty.
        band: Sizes whose loss at the same FLOPs is within .01 nats of the best; with inference, at the same FLOPs of
            training and inference together.
        size_costs: What other sizes cost, of the same FLOPs.
        inference: The inference part, where asked.
        unique_tokens: Distinct tokens, where limited.
        shape_rule: FLOPs per token that were assumed.
        neighbours: Known models of similar training FLOPs.
        warnings: What weakens this.
    """

    goal: str
    law: str
    params: float
    tokens: float
    loss: float | None
    flops: float
    intervals: Mapping[str, Interval | None]
    band: tuple[float, float] | None = None
    size_costs: tuple[SizeCost, ...] = ()
    inference: Inference | None = None
    unique_tokens: float | None = None
    shape_rule: str = SIX_N.description
    neighbours: tuple[KnownModel, ...] = ()
    warnings: tuple[FitWarning, ...] = field(default_factory=tuple)

    @property
    def tokens_per_param(self) -> float:
        """D / N."""
        return self.tokens / self.params

    @property
    def epochs(self) -> float | None:
        """D over distinct tokens, where these are limited."""
        return None if self.unique_tokens is None else self.tokens / self.unique_tokens

    @property
    def band_at(self) -> str:
        """What the sizes of the band, and the costs of other sizes, have in common."""
        return "equal training FLOPs" if self.inference is None else "equal FLOPs of training and inference"

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON document."""
        return {
            "goal": self.goal,
            "law": self.law,
            "params": self.params,
            "tokens": self.tokens,
            "loss": self.loss,
            "flops": self.flops,
            "tokens_per_param": self.tokens_per_param,
            "intervals": {name: interval_json(i) if i else None for name, i in self.intervals.items()},
            "band": None
            if self.band is None
            else {"nats": BAND_NATS, "low": self.band[0], "high": self.band[1], "at": self.band_at},
            "size_costs": [vars(cost) for cost in self.size_costs],
            "inference": None if self.inference is None else dict(vars(self.inference)),
            "unique_tokens": self.unique_tokens,
            "epochs": self.epochs,
            "shape_rule": self.shape_rule,
            "neighbours": [
                {"name": m.name, "params": m.params, "tokens": m.tokens, "tokens_per_param": m.tokens_per_param}
                for m in self.neighbours
            ],
            "warnings": [{"code": w.code, "message": w.message} for w in self.warnings],
        }


def allocate(
    law: str | Law | FormFit = "besiroglu2024",
    *,
    flops: float | None = None,
    match_size: float | None = None,
    inference_tokens: float | None = None,
    unique_tokens: float | None = None,
    gpu: str | None = None,
    gpus: int = 1,
    days: float | None = None,
    mfu: float = DEFAULT_MFU,
    level: float = 0.9,
) -> Allocation:
    """Allocate a budget.

    Args:
        law: A published law or its name, or a fit.
        flops: Training budget C. With `inference_tokens`: the budget whose optimal loss is to be matched.
        match_size: Instead of a budget, the loss of a compute-optimal model of this many parameters.
        inference_tokens: Tokens that the model will serve; then training and inference together are minimised.
        unique_tokens: Distinct training tokens; then epochs are worth what Muennighoff et al. 2023 measured.
        gpu: Instead of a budget, an accelerator, with `gpus` and `days`.
        gpus: Number of accelerators.
        days: Days of training.
        mfu: Model FLOPs utilisation, the share of peak that training reaches.
        level: Level of intervals.

    Raises:
        LawError: No budget or more than one, a value that is not positive, or a law that can't answer.
    """
    chosen = published_law(law) if isinstance(law, str) else law
    budget = resolve_budget(flops, match_size, gpu, gpus, days, mfu)
    for name, value in (("inference_tokens", inference_tokens), ("unique_tokens", unique_tokens)):
        if value is not None and not value > 0:
            raise LawError(f"{name} {value!r}: expected a positive number of tokens, or leave it out.")
    if isinstance(chosen, Law) and chosen.form is None:
        return _by_rule(chosen, budget, match_size, inference_tokens, unique_tokens)
    fitted_optimum = match_size is None and inference_tokens is None and unique_tokens is None
    surface = surface_of(chosen, draws=0 if fitted_optimum else DRAWS)
    if unique_tokens is not None:
        surface = limit_data(surface, unique_tokens)
    return _by_surface(chosen, surface, budget, match_size, inference_tokens, unique_tokens, level)


def surface_of(law: Law | FormFit, *, draws: int = 0) -> Surface:
    """The loss surface of a law, or of a fit with this many bootstrap draws after its estimate."""
    if isinstance(law, Law):
        assert law.form is not None
        return Surface(form=law.form, coefficients=law.values, shapes=law.shapes, columns=law.columns)
    coefficients = np.array([[law.coefficients[name] for name in law.form.names]])
    if draws:
        coefficients = np.concatenate([coefficients, law.resamples.draws[:draws]])
    return Surface(form=law.form, coefficients=coefficients, shapes=law.shapes)


def _by_rule(
    law: Law, budget: float | None, match_size: float | None, inference: float | None, unique: float | None
) -> Allocation:
    if budget is None or inference is not None or unique is not None or match_size is not None:
        raise LawError(
            f"{law.name} gives no loss: expected flops alone. For the rest choose a law such as besiroglu2024."
        )
    best = law.optimum(budget)
    return Allocation(
        goal="train-optimal",
        law=law.name,
        params=best.params,
        tokens=best.tokens,
        loss=None,
        flops=budget,
        intervals={"params": None, "tokens": None, "loss": None, "flops": None},
        neighbours=nearest_models(budget),
    )


def _by_surface(
    law: Law | FormFit,
    surface: Surface,
    budget: float | None,
    match_size: float | None,
    inference_tokens: float | None,
    unique_tokens: float | None,
    level: float,
) -> Allocation:
    rows = len(surface.coefficients)
    flops = surface.flops_of_optimum(match_size) if budget is None and match_size else np.full(rows, budget)
    params = surface.optimal_params(flops)
    tokens = surface.tokens_at(params, flops)
    loss = surface.loss(params, tokens)
    goal = "train-optimal" if match_size is None else "match-size"
    goal = goal if unique_tokens is None else "data-limited"
    inference = None
    if inference_tokens is not None:
        goal, baseline = "inference-aware", (params, tokens)
        surface = dataclasses.replace(surface, served=inference_tokens)
        params, tokens = surface.cheapest(loss)
        inference = _inference(surface, params, tokens, baseline)
        flops = surface.shapes.flops_per_token(params) * tokens
    samples = {"params": params, "tokens": tokens, "loss": loss, "flops": flops}
    budgets = surface.flops_at(params, tokens)
    low, high = surface.band(budgets, params, BAND_NATS)
    return Allocation(
        goal=goal,
        law=law.name if isinstance(law, Law) else f"fit of {law.form.name} to {len(law.runs)} runs",
        params=float(params[0]),
        tokens=float(tokens[0]),
        loss=float(loss[0]),
        flops=float(flops[0]),
        intervals={name: _interval(sample, level) for name, sample in samples.items()}
        | _shown(law, goal, budget, level),
        band=(float(low[0]), float(high[0])),
        size_costs=size_costs(surface, float(budgets[0]), float(params[0])),
        inference=inference,
        unique_tokens=unique_tokens,
        shape_rule=surface.shapes.description,
        neighbours=nearest_models(float(flops[0])),
        warnings=_warnings(law, float(flops[0])),
    )


def _shown(law: Law | FormFit, goal: str, budget: float | None, level: float) -> dict[str, Interval | None]:
    """Intervals of a train-optimal run by the fit's own default, whose coverage was simulated; empty for other goals."""
    if isinstance(law, Law) or goal != "train-optimal" or budget is None:
        return {}
    return dict(law.optimum(flops=budget, level=level).intervals)


def _interval(sample: Array, level: float) -> Interval | None:
    """Interval over the draws after the estimate; None for a law without draws or a quantity that was given."""
    if len(sample) < 3 or np.ptp(sample) == 0:
        return None
    return percentile_interval(sample[1:], level)


def _inference(surface: Surface, params: Array, tokens: Array, baseline: tuple[Array, Array]) -> Inference:
    before, after = (float(surface.flops_at(n, d)[0]) for n, d in (baseline, (params, tokens)))
    return Inference(
        tokens=surface.served,
        total_flops=after,
        baseline_params=float(baseline[0][0]),
        baseline_tokens=float(baseline[1][0]),
        baseline_flops=before,
        saved=1 - after / before,
    )


def nearest_models(flops: float, count: int = 3) -> tuple[KnownModel, ...]:
    """Known models of the most similar training FLOPs."""
    return tuple(sorted(KNOWN_MODELS, key=lambda model: abs(np.log(model.flops / flops)))[:count])


def _warnings(law: Law | FormFit, flops: float) -> tuple[FitWarning, ...]:
    if isinstance(law, Law):
        return ()
    from analysis.fitting.checks import check_extrapolation

    return (*check_extrapolation(flops, float(law.runs.column("flops").max())), *law.warnings)
