"""What every update rule has: its two functions, and decay that does not pass through the gradient."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from trainer.spec import Optimizer, RunSpec

Update = Callable[[int, float], None]
"""Takes a step in place, from the steps before it and the schedule's factor of the rates."""

Start = Callable[[RunSpec, Tensor], dict[str, Tensor]]
"""State before the first step, for parameters that are one flat vector."""

Bind = Callable[[RunSpec, Tensor, Tensor, dict[str, Tensor]], Update]
"""Ties a rule to parameters, their gradient (of the mean loss, clipped) and the state."""


def decay(parameters: Tensor, rate: float, optimizer: Optimizer, factor: float) -> None:
    """Shrink parameters in place by the optimiser's weight decay, by one of its two rules."""
    if optimizer.weight_decay:
        by = factor * optimizer.weight_decay
        parameters.mul_(1 - (by if optimizer.decay_rule == "independent" else by * rate))
