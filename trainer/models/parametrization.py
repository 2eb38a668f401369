"""How initialisation and learning rates follow width: one table per parametrisation, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trainer.spec import SGD, Muon, Optimizer, Parametrization, Shape, Transformer

Group = Literal["embedding", "hidden", "output", "head"]
"""`hidden` matrices read the residual stream, `output` projections write to it."""


Update = Literal["adam", "sgd", "spectral", "adamw-rms"]
"""What decides the size of a group's update: Adam's, the gradient's own, or one of Muon's two scales."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a group of matrices does with width.

    Attributes:
        init: Standard deviation at the start: a constant, or `fan_in` for 1/sqrt(fan-in).
        rate_powers: The rate is multiplied by (base width / width) to this power, by the kind of update.
    """

    init: float | Literal["fan_in"]
    rate_powers: Mapping[Update, float]


EMBEDDING_STD = 0.05
"""Chosen on the tuning split of the standard library; .2 scores alike."""

_SAME: Mapping[Update, float] = {"adam": 0, "sgd": 0, "spectral": 0, "adamw-rms": 0}
_MATRIX: Mapping[Update, float] = {"adam": 1, "sgd": 0, "spectral": 0, "adamw-rms": 0.5}

RULES: dict[str, dict[Group, Rule]] = {
    # Yang et al. 2022 (arXiv:2203.03466), table 3, for Adam and SGD. Projections to the residual stream and the head
    # start at zero, which agrees with every width rule. A Muon update of scale `spectral` has the spectral norm
    # sqrt(outputs / inputs) that a matrix may change by at any width (Yang et al. 2023, arXiv:2310.17813); one of scale
    # `adamw-rms` has a norm that grows as sqrt(width).
    "mup": {
        "embedding": Rule(init=EMBEDDING_STD, rate_powers={"adam": 0, "sgd": -1}),
        "hidden": Rule(init="fan_in", rate_powers=_MATRIX),
        "output": Rule(init=0.0, rate_powers=_MATRIX),
        "head": Rule(init=0.0, rate_powers={"adam": 1, "sgd": 1}),
    },
    "standard": {
        "embedding": Rule(init=EMBEDDING_STD, rate_powers=_SAME),
        "hidden": Rule(init="fan_in", rate_powers=_SAME),
        "output": Rule(init=0.0, rate_powers=_SAME),
        "head": Rule(init=0.0, rate_powers=_SAME),
    },
}


def init_std(group: Group, fan_in: int, parametrization: Parametrization) -> float:
    """Standard deviation of a matrix at the start."""
    init = RULES[parametrization.kind][group].init
    return 1 / math.sqrt(fan_in) if init == "fan_in" else init


def learning_rate(group: Group, shape: Shape, parametrization: Parametrization, optimizer: Optimizer) -> float:
    """Peak learning rate of a matrix."""
    of_group = {"embedding": optimizer.embedding_multiplier, "head": optimizer.head_multiplier}.get(group, 1.0)
    update = update_of(group, optimizer)
    peak = optimizer.learning_rate
    if isinstance(optimizer, Muon) and update == "adam":
        peak = optimizer.adam_learning_rate
    power = RULES[parametrization.kind][group].rate_powers[update]
    return float(peak * of_group * (parametrization.base_width / shape.width) ** power)


def update_of(group: Group, optimizer: Optimizer) -> Update:
    """What decides the size of a group's update."""
    if isinstance(optimizer, SGD):
        return "sgd"
    if isinstance(optimizer, Muon) and group in ("hidden", "output"):
        return optimizer.scale
    return "adam"


def attention_scale(shape: Transformer, parametrization: Parametrization) -> float:
    """Factor of q·k: d_head^-1/2, or for `mup` 1/d_head times what makes both equal at the base head size."""
    head_size = shape.width // shape.heads
    if parametrization.kind == "standard":
        return float(head_size**-0.5)
    return float(parametrization.base_head_size**0.5 / head_size)


def logit_scale(shape: Shape, parametrization: Parametrization) -> float:
    """Factor of the logits: base width / width under `mup` for a tied head, as the embedding decides its rate."""
    if parametrization.kind == "mup" and shape.tied_head:
        return parametrization.base_width / shape.width
    return 1.0
