"""phi(N): the training FLOPs per token of a model of N parameters, along the shapes that the runs themselves used.

The optimum at a budget C minimises L(N, C / phi(N)). Taking phi = 6 N would slip a convention in: with the head and
attention counted, small models cost up to several times 6 N per token, and the exponent of N*(C) moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.table import Runs

Array = NDArray[np.float64]

SIX_N_TOLERANCE = 1e-3
"""Largest relative departure from 6 N at which the closed form is used (chosen: what rounding to steps does)."""


@dataclass(frozen=True, kw_only=True)
class ShapeRule:
    """FLOPs per token against size.

    Attributes:
        sizes: Sizes N that were run, increasing, shape (k,); empty under 6 N.
        ratios: FLOPs per token over 6 N at those sizes, shape (k,).
        decay: Beyond the sizes, ratio - 1 falls as N^-decay; 0 holds the last ratio.
        description: What is assumed, and where it is an extrapolation.
    """

    sizes: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    decay: float = 0.0
    description: str = "6 N FLOPs per token"

    @property
    def is_six_n(self) -> bool:
        """Whether phi(N) = 6 N."""
        return not self.sizes

    def flops_per_token(self, params: Array) -> Array:
        """phi(N), same shape as params."""
        return 6 * params * self.ratio(params)

    def ratio(self, params: Array) -> Array:
        """phi(N) / 6 N: interpolated in log N between the sizes; beyond them as `description` says."""
        params = np.asarray(params, dtype=np.float64)
        if self.is_six_n:
            return np.ones_like(params)
        x, grid = np.log(params), np.log(self.sizes)
        inside = np.exp(np.interp(x, grid, np.log(self.ratios)))
        above = 1 + (self.ratios[-1] - 1) * np.exp(-self.decay * np.maximum(x - grid[-1], 0.0))
        below = 1 + (self.ratios[0] - 1) * np.exp(self.decay * np.maximum(grid[0] - x, 0.0))
        return np.where(x > grid[-1], above, np.where(x < grid[0], below, inside))


SIX_N = ShapeRule()


def shape_rule(runs: Runs) -> ShapeRule:
    """The rule that these runs followed, from their FLOPs, tokens and sizes.

    Args:
        runs: Runs with `params`, `tokens` and `flops`.
    """
    frame = runs.frame
    ratio = frame["flops"] / (6.0 * frame["params"] * frame["tokens"])
    if runs.flops_rule == "6nd" or bool((abs(ratio - 1) <= SIX_N_TOLERANCE).all()):
        return SIX_N
    by_size = ratio.groupby(frame["params"].astype(float)).median().sort_index()
    sizes, ratios = by_size.index.to_numpy(dtype=float), by_size.to_numpy(dtype=float)
    decay = _decay(sizes, ratios)
    largest = f"{sizes[-1]:.3g} parameters"
    beyond = (
        f"beyond {largest} the share above 6 N is assumed to fall as N^-{decay:.2f}, as it does over the runs"
        if decay > 0
        else f"beyond {largest} {ratios[-1]:.3f} x 6 N is assumed"
    )
    description = f"FLOPs per token of the runs' own shapes, {ratios[0]:.3f} to {ratios[-1]:.3f} x 6 N; {beyond}"
    return ShapeRule(sizes=tuple(sizes), ratios=tuple(ratios), decay=decay, description=description)


def _decay(sizes: Array, ratios: Array) -> float:
    """Slope of ln(ratio - 1) against ln N; 0 where the share is not positive everywhere or does not fall."""
    if len(sizes) < 3 or (ratios <= 1).any():
        return 0.0
    slope = float(np.polyfit(np.log(sizes), np.log(ratios - 1), 1)[0])
    return float(np.clip(-slope, 0.0, 1.0))
