"""The sweep file's `model` section: a family of models, and how everything about a model follows its width."""

from __future__ import annotations

from pydantic import Field, model_validator

from orchestrator.sweep.sections import Section, Whole
from trainer.shapes import Family
from trainer.spec import Activation, Positions

LSTM_KEYS = frozenset({"family", "layers", "aspect_ratio", "width_multiple", "tied_head", "context"})
"""Keys of `model` that an LSTM has."""


class Model(Section):
    """The family of models, and the rule from N to a shape. What it costs and counts: [concepts](concepts.md)."""

    family: Family = Field("transformer", description="Model family.")
    layers: Whole | None = Field(None, ge=1, description="Blocks of every model; by default width / aspect_ratio.")
    aspect_ratio: float = Field(64.0, gt=0, description="Width over layers, where `layers` is not given.")
    head_size: Whole = Field(64, ge=2, description="Largest head size; narrower models have one head.")
    kv_heads: Whole | None = Field(
        None, ge=1, description="Heads of keys and values, which the heads share evenly; by default as many as heads."
    )
    width_multiple: Whole = Field(8, ge=2, description="Widths are multiples of this even number.")
    ffn_ratio: float = Field(4.0, gt=0, description="Feed-forward width over width; of each expert.")
    activation: Activation = Field("gelu", description="Feed-forward non-linearity; `relu2` is the square of ReLU.")
    positions: Positions = Field("rotary", description="How the network knows a token's place.")
    qk_norm: bool = Field(False, description="Whether queries and keys are normed.")
    experts: Whole = Field(1, ge=1, le=1024, description="Feed-forward parts that a router chooses among; 1 for none.")
    active_experts: Whole = Field(1, ge=1, description="Experts that each token goes through.")
    tied_head: bool = Field(False, description="Whether the output matrix is the embedding.")
    context: Whole = Field(64, ge=2, description="Tokens per window.")

    @model_validator(mode="after")
    def _active_among_experts(self) -> Model:
        if self.active_experts > self.experts:
            raise ValueError(
                f"active_experts is {self.active_experts} of {self.experts} experts; expected no more than there are. "
                "Lower active_experts or raise experts."
            )
        return self

    @model_validator(mode="after")
    def _only_what_the_family_has(self) -> Model:
        foreign = sorted(self.model_fields_set - LSTM_KEYS)
        if self.family == "lstm" and foreign:
            raise ValueError(
                f"{', '.join(foreign)} given for family lstm; expected only {', '.join(sorted(LSTM_KEYS))}. "
                "Leave the others out; a setting that changes the family replaces all of it: model: {family: lstm, ...}."
            )
        return self
