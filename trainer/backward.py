"""How the gradient of a batch is had: by hand or by autograd, whole or in micro-batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer import compiling
from trainer.models.networks import Network
from trainer.models.parameters import matrices
from trainer.spec import RunSpec
from trainer.state import State

Gradient = Callable[[Tensor], Tensor]
"""Puts the gradient of a batch of tokens where it was told to, and gives the summed loss."""


def gradient_function(
    spec: RunSpec, model: Network, state: State, gradient: Tensor, micro_batch: int, *, compiled: bool = False
) -> Gradient:
    """What a step calls on its batch: puts the gradient of the summed loss into `gradient` and gives that loss."""

    def pass_of(into: Tensor) -> Gradient:
        if compiled:
            return compiling.gradient_of(spec, state.parameters, into, sizes_of(spec, micro_batch))
        return one_pass(model, state.parameters, into)

    if micro_batch >= spec.batch_contexts:
        return pass_of(gradient)
    part = torch.empty_like(gradient)
    of_part = pass_of(part)

    def in_parts(tokens_BT: Tensor) -> Tensor:
        losses = []
        gradient.zero_()
        for part_BT in torch.split(tokens_BT, micro_batch):
            losses.append(of_part(part_BT))
            gradient.add_(part)
        return torch.stack(losses).sum()

    return in_parts


def sizes_of(spec: RunSpec, micro_batch: int) -> list[int]:
    """Windows of each kind of pass that a run makes: whole batches or parts, those of a ramp, and what is left over."""
    batches = {spec.batch_contexts >> halvings for halvings in range(len(spec.ramp_steps) + 1)}
    parts = {min(batch, micro_batch) for batch in batches} | {batch % micro_batch for batch in batches}
    return sorted(parts - {0})


def one_pass(model: Network, parameters: Tensor, gradient: Tensor) -> Gradient:
    """A whole batch in one pass."""
    way = by_hand if goes_by_hand(model, parameters.device.type) else by_autograd
    return way(model, parameters, gradient)


def goes_by_hand(model: Network, device: str) -> bool:
    """Whether autograd is not needed: on a CPU, where somebody has written the gradient."""
    return device == "cpu" and model.by_hand is not None


def by_hand(model: Network, parameters: Tensor, gradient: Tensor) -> Gradient:
    """On a CPU, where autograd's bookkeeping is up to half of a small step."""
    loss_and_gradient = model.by_hand
    assert loss_and_gradient is not None
    into = matrices(model._replace(dtype=torch.float32), gradient)
    lasting = matrices(model, parameters) if model.dtype == torch.float32 else None

    def run(tokens_BT: Tensor) -> Tensor:
        weights = lasting or matrices(model, parameters)
        return loss_and_gradient(weights, into, tokens_BT[:, :-1], tokens_BT[:, 1:])

    return run


def by_autograd(model: Network, parameters: Tensor, gradient: Tensor) -> Gradient:
    """On a GPU, where Python runs ahead of the device and autograd's bookkeeping costs nothing, and without a `by_hand`."""

    def run(tokens_BT: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = parameters.detach().requires_grad_()
            loss, objective = model.losses(matrices(model, leaf), tokens_BT[:, :-1], tokens_BT[:, 1:])
        gradient.copy_(torch.autograd.grad(objective, leaf)[0])
        return loss.detach()

    return run
