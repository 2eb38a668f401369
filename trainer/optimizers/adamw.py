"""AdamW on a flat vector, by torch's fused kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.models.networks import RateSpan, rate_spans
from trainer.optimizers.rules import Update
from trainer.spec import AdamW, Muon, RunSpec


def start(spec: RunSpec, parameters: Tensor) -> dict[str, Tensor]:
    """Running means of the gradient and of its square."""
    return {"first": torch.zeros_like(parameters), "second": torch.zeros_like(parameters)}


def bind(spec: RunSpec, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> Update:
    """A step over all parameters."""
    assert isinstance(spec.optimizer, AdamW)
    spans = rate_spans(spec.model, spec.parametrization, spec.optimizer)
    return update(spec.optimizer, (parameters, gradient, state["first"], state["second"]), spans)


def update(
    optimizer: AdamW | Muon, tensors: tuple[Tensor, Tensor, Tensor, Tensor], spans: Sequence[RateSpan]
) -> Update:
    """A step over parameters, their gradient and its two running means, vectors of one length: a pass for each rate.

    Adam with bias correction (Kingma & Ba 2015), decay decoupled (Loshchilov & Hutter 2019).
    """
    steps = torch.zeros((), device=tensors[0].device)
    passes = [(rate, [[tensor[span]] for tensor in tensors]) for span, rate in spans]

    def step(before: int, factor: float) -> None:
        steps.fill_(before + 1)
        for rate, (parameters, gradient, first, second) in passes:
            torch._fused_adamw_(
                parameters, gradient, first, second, [], [steps],
                lr=factor * rate, beta1=optimizer.beta1, beta2=optimizer.beta2, eps=optimizer.epsilon,
                weight_decay=_decay_over_rate(optimizer, rate), amsgrad=False, maximize=False,
            )  # fmt: skip

    return step


def _decay_over_rate(optimizer: AdamW | Muon, rate: float) -> float:
    """Weight decay as the kernel takes it, which multiplies it by the rate."""
    if optimizer.decay_rule == "coupled" or not optimizer.weight_decay:
        return optimizer.weight_decay
    return optimizer.weight_decay / rate
