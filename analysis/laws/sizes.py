"""What a model of another size than the optimum costs, in loss at equal FLOPs and in FLOPs for equal loss."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from analysis.laws.surface import Surface

SIZE_FACTORS = (0.25, 0.3, 0.5, 0.75, 1.5, 2.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class SizeCost:
    """What a size other than the optimum costs.

    Attributes:
        factor: Size over the optimal size.
        extra_loss: Nats lost at the same budget; None where serving alone costs more than that.
        extra_compute: Share of more training compute to reach the optimum's loss; None where no amount of data does.
    """

    factor: float
    extra_loss: float | None
    extra_compute: float | None


def size_costs(
    surface: Surface, flops: float, best: float, factors: tuple[float, ...] = SIZE_FACTORS
) -> tuple[SizeCost, ...]:
    """What sizes other than `best` cost, by the surface's estimate.

    Args:
        surface: The law; with `served` tokens, FLOPs are those of training and inference together.
        flops: Budget C.
        best: The size that is compared with.
        factors: Sizes over the best.
    """
    first = dataclasses.replace(surface, coefficients=surface.coefficients[:1])
    budget, params = np.array([flops]), np.array([best])
    target = first.loss(params, first.tokens_at(params, budget))
    sizes = params[:, None] * np.array(factors)
    losses = first.loss(sizes, first.tokens_at(sizes, budget[:, None]))[0]
    compute = first.flops_at(sizes, first.tokens_to_reach(sizes, target[:, None]))[0] / flops - 1
    return tuple(
        SizeCost(
            factor=f,
            extra_loss=float(x - target[0]) if np.isfinite(x) else None,
            extra_compute=float(c) if np.isfinite(c) else None,
        )
        for f, x, c in zip(factors, losses, compute, strict=True)
    )
