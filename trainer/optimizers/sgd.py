"""Stochastic gradient descent with momentum on one flat vector."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.models.networks import rates as peak_rates
from trainer.optimizers.rules import Update, decay
from trainer.spec import SGD, RunSpec


def start(spec: RunSpec, parameters: Tensor) -> dict[str, Tensor]:
    """The running sum of gradients."""
    return {"momentum": torch.zeros_like(parameters)}


def bind(spec: RunSpec, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> Update:
    """A step: m <- momentum m + g; p <- p - rate m, or with Nesterov's look ahead p - rate (g + momentum m)."""
    optimizer, momentum = spec.optimizer, state["momentum"]
    assert isinstance(optimizer, SGD)
    rates = peak_rates(spec.model, spec.parametrization, optimizer).to(parameters.device)

    def step(before: int, factor: float) -> None:
        decay(parameters, rates, optimizer, factor)
        momentum.mul_(optimizer.momentum).add_(gradient)
        ahead = gradient.add(momentum, alpha=optimizer.momentum) if optimizer.nesterov else momentum
        parameters.addcmul_(ahead, rates, value=-factor)

    return step
