"""AdamW on one flat vector, with a learning rate for every parameter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.spec import AdamW


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Running means of the gradient and of its square, updated in place.

    Attributes:
        first: Mean of the gradient.
        second: Mean of its square.
    """

    first: Tensor
    second: Tensor


def clip(gradient: Tensor, tokens: int, max_norm: float | None) -> None:
    """Turn a gradient of a summed loss over `tokens` into one of the mean, and bound its norm, in place."""
    if max_norm is None:
        gradient.mul_(1 / tokens)
    else:
        norm = torch.linalg.vector_norm(gradient)
        gradient.mul_((max_norm / norm).clamp_(max=1 / tokens))


def adamw_step(
    parameters: Tensor, gradient: Tensor, moments: Moments, rates: Tensor, *, optimizer: AdamW, step: int, factor: float
) -> None:
    """One update in place: Adam with bias correction (Kingma & Ba 2015), decay decoupled (Loshchilov & Hutter 2019).

    Args:
        parameters: Flat parameters.
        gradient: Gradient of the mean loss.
        moments: State.
        rates: Peak rate of every parameter.
        optimizer: Constants.
        step: Steps taken before this one.
        factor: The schedule's factor of the rates.
    """
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    if optimizer.weight_decay:
        parameters.addcmul_(parameters, rates, value=-factor * optimizer.weight_decay)
    moments.first.lerp_(gradient, 1 - beta1)
    moments.second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    bias1, bias2 = 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1)
    root = moments.second.sqrt().add_(optimizer.epsilon * bias2**0.5)
    parameters.addcmul_(torch.div(moments.first, root, out=root), rates, value=-factor * bias2**0.5 / bias1)
