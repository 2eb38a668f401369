"""The gradient noise scale: the batch beyond which more of it stops paying, from gradients of parts and of whole batches.

McCandlish et al. 2018 (arXiv:1812.06162), appendix A.1: with tr S the variance of one token's gradient and G the true
gradient, the mean of a batch of B tokens has E|g|^2 = |G|^2 + tr S / B. Two batch sizes give both unknowns without bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PARTS = 8
"""Parts of a batch, at most; chosen: more parts cost no more work, but more operations."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One measurement.

    Attributes:
        step: Steps done before it.
        variance: Estimate of tr S, of one token's gradient.
        signal: Estimate of |G|^2; may fall below zero by chance.
    """

    step: int
    variance: float
    signal: float


def look(tokens_BT: Tensor, step: int, gradient_of: Callable[[Tensor], Tensor], part: Tensor) -> Look | None:
    """Measure at the present parameters; None for a batch of one window.

    Args:
        tokens_BT: The step's batch, shape (B, T + 1).
        step: Steps done.
        gradient_of: Puts the gradient of the summed loss of some windows into `part`.
        part: A vector as long as the parameters, overwritten.
    """
    count, context = min(PARTS, len(tokens_BT)), tokens_BT.shape[1] - 1
    if count == 1:
        return None
    windows = len(tokens_BT) // count * count  # equal parts; what is over is left out
    whole, squares = torch.zeros_like(part), []
    small, large = windows // count * context, windows * context
    for part_BT in torch.split(tokens_BT[:windows], windows // count):
        gradient_of(part_BT)
        squares.append(torch.linalg.vector_norm(part).square() / small**2)
        whole.add_(part)
    of_small = float(torch.stack(squares).mean())
    of_large = float(torch.linalg.vector_norm(whole).square()) / large**2
    return Look(
        step=step,
        variance=(of_small - of_large) / (1 / small - 1 / large),
        signal=(large * of_large - small * of_small) / (large - small),
    )


def noise_scale(looks: Sequence[Look], steps: int) -> float | None:
    """Tr S / |G|^2 in tokens, each averaged over the looks of a run's second half; None where the signal is not positive."""
    late = [each for each in looks if each.step >= steps / 2]
    signal = sum(each.signal for each in late)
    scale = sum(each.variance for each in late) / signal if signal > 0 else math.nan
    return scale if math.isfinite(scale) else None
