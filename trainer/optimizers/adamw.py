"""AdamW on a flat vector, with a learning rate for every parameter."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.models.networks import rates as peak_rates
from trainer.optimizers.rules import Update, decay
from trainer.spec import AdamW, Muon, RunSpec

CHUNK = 1 << 16
"""Parameters per pass, so that a pass's five vectors stay in a core's cache; a whole number of vector registers."""


def start(spec: RunSpec, parameters: Tensor) -> dict[str, Tensor]:
    """Running means of the gradient and of its square."""
    return {"first": torch.zeros_like(parameters), "second": torch.zeros_like(parameters)}


def bind(spec: RunSpec, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> Update:
    """A step over all parameters."""
    assert isinstance(spec.optimizer, AdamW)
    rates = peak_rates(spec.model, spec.parametrization, spec.optimizer).to(parameters.device)
    return update(spec.optimizer, parameters, gradient, state["first"], state["second"], rates)


def update(
    optimizer: AdamW | Muon, parameters: Tensor, gradient: Tensor, first: Tensor, second: Tensor, rates: Tensor
) -> Update:
    """A step over some parameters, all tensors of one length.

    Adam with bias correction (Kingma & Ba 2015), decay decoupled (Loshchilov & Hutter 2019).
    """
    whole = (parameters, gradient, first, second, rates)
    size = CHUNK if parameters.device.type == "cpu" else len(parameters)
    chunks = list(zip(*(torch.split(each, max(size, 1)) for each in whole), strict=True))

    def step(before: int, factor: float) -> None:
        for chunk in chunks:
            _step(*chunk, optimizer=optimizer, before=before, factor=factor)

    return step


def _step(
    parameters: Tensor, gradient: Tensor, first: Tensor, second: Tensor, rates: Tensor,
    *, optimizer: AdamW | Muon, before: int, factor: float,
) -> None:  # fmt: skip
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    decay(parameters, rates, optimizer, factor)
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    bias1, bias2 = 1 - beta1 ** (before + 1), 1 - beta2 ** (before + 1)
    root = second.sqrt().add_(optimizer.epsilon * bias2**0.5)
    parameters.addcmul_(torch.div(first, root, out=root), rates, value=-factor * bias2**0.5 / bias1)
