"""The sweep file's `optimizer` section: one kind of section for every update rule, told apart by `name`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

import trainer
from orchestrator.sweep.sections import Section, Whole
from trainer import recipe
from trainer.spec import DecayRule, MuonScale


class RateRule(Section):
    """Peak learning rate as peak x (batch tokens / at_batch_tokens)^exponent."""

    peak: float = Field(gt=0, description="Peak rate of hidden matrices at base width and batch `at_batch_tokens`.")
    at_batch_tokens: float = Field(512, gt=0, description="Batch at which `peak` holds.")
    exponent: float = Field(
        0.5, description="Exponent of the batch; .5 is the square-root rule of Adam, 1 the linear one of SGD."
    )

    def rate(self, batch_tokens: int) -> float:
        """Peak rate for a batch."""
        return recipe.learning_rate(
            batch_tokens, peak=self.peak, at_batch_tokens=self.at_batch_tokens, exponent=self.exponent
        )


class _Optimizer(Section):
    """What every update rule has."""

    learning_rate: RateRule | float = Field(description="Peak rate: a number, or a rule of the batch.")
    embedding_multiplier: float = Field(1.0, gt=0, description="Embedding's rate over the peak.")
    head_multiplier: float = Field(1.0, gt=0, description="Head's rate over the peak.")
    weight_decay: float = Field(0.0, ge=0, description="Share of a parameter that a step takes away: see `decay_rule`.")
    decay_rule: DecayRule = Field(
        "coupled",
        description="`coupled`: weight decay times the current rate, as in torch; `independent`: times the schedule "
        "alone, the same at every rate and width (Wortsman et al. 2023, arXiv:2309.14322).",
    )
    clip_norm: float | None = Field(1.0, description="Largest global gradient norm; null switches clipping off.")
    parametrization: Literal["mup", "standard"] = Field("mup", description="How initialisation and rates follow width.")
    base_width: Whole = Field(32, ge=1, description="Width at which the rates hold.")

    def _shared(self, batch_tokens: int) -> dict[str, Any]:
        """Arguments that the trainer's optimisers have in common."""
        names = "embedding_multiplier", "head_multiplier", "weight_decay", "decay_rule", "clip_norm"
        rate = _rate(self.learning_rate, batch_tokens)
        return {"learning_rate": rate} | {name: getattr(self, name) for name in names}


class _Adam(Section):
    """Settings of Adam's moments."""

    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta2_half_life_tokens: float = Field(
        gt=0, description="Half-life of the second moment in tokens; beta2 follows from the batch."
    )
    epsilon: float = Field(1e-9, gt=0, description="Added to the root of the second moment.")

    def _moments(self, batch_tokens: int) -> dict[str, Any]:
        beta2 = recipe.beta2(batch_tokens, half_life_tokens=self.beta2_half_life_tokens)
        return {"beta1": self.beta1, "beta2": beta2, "epsilon": self.epsilon}


class AdamW(_Optimizer, _Adam):
    """AdamW, and how its settings follow batch and width."""

    name: Literal["adamw"] = Field("adamw", description="Update rule.")

    def settings(self, batch_tokens: int) -> trainer.AdamW:
        """What the trainer is told, for a batch."""
        return trainer.AdamW(**self._shared(batch_tokens), **self._moments(batch_tokens))


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum. Its best rates are tens of times those of AdamW."""

    name: Literal["sgd"] = Field("sgd", description="Update rule.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Decay of the running sum of gradients.")
    nesterov: bool = Field(False, description="Whether a step looks ahead along the momentum.")

    def settings(self, batch_tokens: int) -> trainer.SGD:
        """What the trainer is told, for a batch."""
        return trainer.SGD(**self._shared(batch_tokens), momentum=self.momentum, nesterov=self.nesterov)


class Muon(_Optimizer, _Adam):
    """Orthogonalised momentum for the matrices of the blocks (Jordan et al. 2024), AdamW for embedding and head."""

    name: Literal["muon"] = Field("muon", description="Update rule.")
    adam_learning_rate: RateRule | float = Field(
        description="Peak rate of embedding and head, which their multipliers multiply."
    )
    momentum: float = Field(0.95, ge=0, lt=1, description="Decay of the running mean of gradients.")
    nesterov: bool = Field(True, description="Whether a step looks ahead along the momentum.")
    iterations: Whole = Field(5, ge=1, le=20, description="Newton-Schulz iterations.")
    scale: MuonScale = Field(
        "spectral",
        description="Size of an update: `spectral` keeps the rate over widths; `adamw-rms` makes AdamW's rates fit "
        "(Liu et al. 2025, arXiv:2502.16982).",
    )

    def settings(self, batch_tokens: int) -> trainer.Muon:
        """What the trainer is told, for a batch."""
        return trainer.Muon(
            **self._shared(batch_tokens),
            **self._moments(batch_tokens),
            adam_learning_rate=_rate(self.adam_learning_rate, batch_tokens),
            momentum=self.momentum,
            nesterov=self.nesterov,
            iterations=self.iterations,
            scale=self.scale,
        )


NAMES = ("adamw", "sgd", "muon")


def _known(value: Any) -> Any:
    """Refuse a name that is none, before it is looked for among the kinds."""
    name = _name(value)
    if name in NAMES:
        return value
    close = difflib.get_close_matches(str(name), NAMES, n=1)
    hint = f'Did you mean "{close[0]}"?' if close else "Correct the name."
    raise ValueError(f"name is {name!r}; expected one of {', '.join(NAMES)}. {hint}")


def _name(value: Any) -> Any:
    return value.get("name", "adamw") if isinstance(value, Mapping) else getattr(value, "name", "adamw")


Optimizer = Annotated[
    Annotated[AdamW, Tag("adamw")] | Annotated[SGD, Tag("sgd")] | Annotated[Muon, Tag("muon")],
    Discriminator(_name),
    BeforeValidator(_known),
]


def _rate(rule: RateRule | float, batch_tokens: int) -> float:
    return rule.rate(batch_tokens) if isinstance(rule, RateRule) else rule
