"""How initialisation and learning rates follow width: one table per parametrisation, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from trainer.spec import AdamW, Parametrization, Transformer

Group = Literal["embedding", "hidden", "output", "head"]
"""`hidden` matrices read the residual stream, `output` projections write to it."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a group of matrices does with width.

    Attributes:
        init: Standard deviation at the start: a constant, or `fan_in` for 1/sqrt(fan-in).
        rate_power: The rate is multiplied by (base width / width) to this power.
    """

    init: float | Literal["fan_in"]
    rate_power: float


EMBEDDING_STD = 0.05
"""Chosen on the tuning split of the standard library; .2 scores alike."""

RULES: dict[str, dict[Group, Rule]] = {
    # Yang et al. 2022 (arXiv:2203.03466), table 8 for Adam. Projections to the residual stream and the head start at
    # zero, which agrees with every width rule.
    "mup": {
        "embedding": Rule(init=EMBEDDING_STD, rate_power=0),
        "hidden": Rule(init="fan_in", rate_power=1),
        "output": Rule(init=0.0, rate_power=1),
        "head": Rule(init=0.0, rate_power=1),
    },
    "standard": {
        "embedding": Rule(init=EMBEDDING_STD, rate_power=0),
        "hidden": Rule(init="fan_in", rate_power=0),
        "output": Rule(init=0.0, rate_power=0),
        "head": Rule(init=0.0, rate_power=0),
    },
}


def init_std(group: Group, fan_in: int, parametrization: Parametrization) -> float:
    """Standard deviation of a matrix at the start."""
    init = RULES[parametrization.kind][group].init
    return 1 / math.sqrt(fan_in) if init == "fan_in" else init


def learning_rate(group: Group, shape: Transformer, parametrization: Parametrization, optimizer: AdamW) -> float:
    """Peak learning rate of a matrix."""
    of_group = {"embedding": optimizer.embedding_multiplier, "head": optimizer.head_multiplier}.get(group, 1.0)
    power = RULES[parametrization.kind][group].rate_power
    return float(optimizer.learning_rate * of_group * (parametrization.base_width / shape.width) ** power)


def attention_scale(shape: Transformer, parametrization: Parametrization) -> float:
    """Factor of q·k: d_head^-1/2, or for `mup` 1/d_head times what makes both equal at the base head size."""
    head_size = shape.width // shape.heads
    if parametrization.kind == "standard":
        return float(head_size**-0.5)
    return float(parametrization.base_head_size**0.5 / head_size)


def logit_scale(shape: Transformer, parametrization: Parametrization) -> float:
    """Factor of the logits: base width / width under `mup` for a tied head, as the embedding decides its rate."""
    if parametrization.kind == "mup" and shape.tied_head:
        return parametrization.base_width / shape.width
    return 1.0
