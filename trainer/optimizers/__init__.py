"""Update rules on one flat parameter vector: one file each, in a table by the type that a spec names.

A rule is two functions. `start` makes its state: named tensors, which is what a checkpoint holds. `bind` ties it to a
run's tensors and gives the function that takes one step in place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.optimizers import adamw, muon, sgd
from trainer.optimizers.rules import Bind, Start, Update
from trainer.spec import SGD, AdamW, Muon, RunSpec


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one type of optimiser starts and steps."""

    start: Start
    bind: Bind


RULES: dict[type, Rule] = {
    AdamW: Rule(start=adamw.start, bind=adamw.bind),
    SGD: Rule(start=sgd.start, bind=sgd.bind),
    Muon: Rule(start=muon.start, bind=muon.bind),
}


def start(spec: RunSpec, parameters: Tensor) -> dict[str, Tensor]:
    """The state before the first step: zeros, on the parameters' device."""
    return RULES[type(spec.optimizer)].start(spec, parameters)


def bind(spec: RunSpec, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> Update:
    """The function that takes a step: it reads `gradient` and changes `parameters` and `state` in place.

    It is called with the steps taken before this one and with the schedule's factor of the rates.
    """
    return RULES[type(spec.optimizer)].bind(spec, parameters, gradient, state)


def clip(gradient: Tensor, tokens: int, max_norm: float | None) -> None:
    """Turn a gradient of a summed loss over `tokens` into one of the mean, and bound its norm, in place."""
    if max_norm is None:
        gradient.mul_(1 / tokens)
    else:
        norm = torch.linalg.vector_norm(gradient)
        gradient.mul_((max_norm / norm).clamp_(max=1 / tokens))
