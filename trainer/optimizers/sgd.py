"""Stochastic gradient descent with momentum on one flat vector."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.models.networks import rate_spans
from trainer.optimizers.rules import Update, decay
from trainer.spec import SGD, RunSpec


def start(spec: RunSpec, parameters: Tensor) -> dict[str, Tensor]:
    """The running sum of gradients."""
    return {"momentum": torch.zeros_like(parameters)}


def bind(spec: RunSpec, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> Update:
    """A step: m <- momentum m + g; p <- p - rate m, or with Nesterov's look ahead p - rate (g + momentum m)."""
    optimizer, momentum = spec.optimizer, state["momentum"]
    assert isinstance(optimizer, SGD)
    spans = rate_spans(spec.model, spec.parametrization, optimizer)

    def step(before: int, factor: float) -> None:
        momentum.mul_(optimizer.momentum).add_(gradient)
        ahead = gradient.add(momentum, alpha=optimizer.momentum) if optimizer.nesterov else momentum
        for span, rate in spans:
            decay(parameters[span], rate, optimizer, factor)
            parameters[span].add_(ahead[span], alpha=-factor * rate)

    return step
