"""phi(N): the training FLOPs per token of a model of N parameters, along the shapes that the runs themselves used.

The optimum at a budget C minimises L(N, C / phi(N)). Taking phi = 6 N would slip a convention in: with the head and
attention counted, small models cost up to several times 6 N per token, and the exponent of N*(C) moves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.forms.jet import Quantity, exp, log
from analysis.table import Runs

Array = NDArray[np.float64]

SIX_N_TOLERANCE = 1e-3
"""Largest relative departure from 6 N at which the closed form serves (chosen: what rounding to steps does)."""

DECAYS = np.geomspace(0.05, 1.5, 60)
"""Powers of N that the share beyond 6 N is tried with: attention and head fall between N^-1/3 and N^-2/3."""


@dataclass(frozen=True, kw_only=True)
class ShapeRule:
    """FLOPs per token: phi(N) = 6 N (limit + share (N / size)^-decay).

    Attributes:
        limit: phi / 6 N for very large N.
        share: What is added to it at `size`.
        size: A size N within the runs.
        decay: How fast the addition falls.
        description: What is assumed, how well the runs follow it, and where it is an extrapolation.
    """

    limit: float = 1.0
    share: float = 0.0
    size: float = 1.0
    decay: float = 0.0
    description: str = "6 N FLOPs per token"

    @property
    def is_six_n(self) -> bool:
        """Whether phi(N) = 6 N."""
        return self.limit == 1 and self.share == 0

    def ratio(self, params: Quantity) -> Quantity:
        """phi(N) / 6 N."""
        return self.limit + self.share * (params / self.size) ** -self.decay

    def flops_per_token(self, params: Quantity) -> Quantity:
        """phi(N)."""
        return 6.0 * params * self.ratio(params)

    def log_flops_per_token(self, log_params: Quantity) -> Quantity:
        """Ln phi at ln N."""
        return np.log(6.0) + log_params + log(self.ratio(exp(log_params)))

    def elasticity(self, log_params: Quantity) -> Quantity:
        """D ln phi / d ln N, 1 under 6 N."""
        ratio = self.ratio(exp(log_params))
        return 1.0 - self.decay * (ratio - self.limit) / ratio


SIX_N = ShapeRule()


def shape_rule(runs: Runs) -> ShapeRule:
    """The rule that these runs followed, from their FLOPs, tokens and sizes.

    Args:
        runs: Runs with `params`, `tokens` and `flops`.
    """
    rule, head = _rule(runs), _head_share(runs)
    return replace(rule, description=f"{rule.description}; {head}") if head else rule


def _head_share(runs: Runs) -> str:
    """Share of N that the head has from the smallest to the largest size, where N counts it; it bends N*(C)."""
    frame = runs.frame
    if runs.params_convention != "blocks+head" or "params_head" not in frame or frame["params_head"].isna().any():
        return ""
    share = (frame["params_head"] / frame["params"]).to_numpy(dtype=float)
    small, large = share[frame["params"].to_numpy().argmin()], share[frame["params"].to_numpy().argmax()]
    return f"the head is {100 * small:.0f} % of N at the smallest size and {100 * large:.0f} % at the largest"


def _rule(runs: Runs) -> ShapeRule:
    frame = runs.frame
    ratio = frame["flops"] / (6.0 * frame["params"] * frame["tokens"])
    if runs.flops_rule == "6nd" or bool((abs(ratio - 1) <= SIX_N_TOLERANCE).all()):
        return SIX_N
    by_size = ratio.groupby(frame["params"].astype(float)).median().sort_index()
    sizes, ratios = by_size.index.to_numpy(dtype=float), by_size.to_numpy(dtype=float)
    if len(sizes) < 3:
        return _constant(sizes, ratios)
    return min((_decaying(sizes, ratios, free=free) for free in (False, True)), key=lambda fit: fit[0])[1]


def _constant(sizes: Array, ratios: Array) -> ShapeRule:
    level = float(np.exp(np.log(ratios).mean()))
    description = (
        f"{level:.3f} x 6 N FLOPs per token, as at the {len(sizes)} sizes that were run, assumed at all others"
    )
    return ShapeRule(limit=level, description=description)


def _decaying(sizes: Array, ratios: Array, *, free: bool) -> tuple[float, ShapeRule]:
    """Best rule with limit 1 or a free one, and its worst misfit; doubled for a free one, which must earn its place."""
    middle = float(np.exp(np.log(sizes).mean()))
    best = (np.inf, 1.0, 0.0, 0.0)
    for decay in DECAYS:
        term = (sizes / middle) ** -decay
        if free:
            matrix = np.stack([np.ones_like(term), term], axis=1) / ratios[:, None]
            limit, share = np.linalg.lstsq(matrix, np.ones_like(term), rcond=None)[0]
        else:
            limit, share = 1.0, float(((ratios - 1) * term / ratios**2).sum() / (term**2 / ratios**2).sum())
        misfit = float(np.abs((limit + share * term) / ratios - 1).max())
        if misfit < best[0] and limit > 0:
            best = (misfit, float(limit), float(share), float(decay))
    misfit, limit, share, decay = best
    description = (
        f"FLOPs per token of the runs' own shapes, {ratios[0]:.3f} to {ratios[-1]:.3f} x 6 N, followed within "
        f"{100 * misfit:.1f} %; beyond {sizes[-1]:.3g} parameters assumed to approach {limit:.3f} x 6 N as "
        f"N^-{decay:.2f}"
    )
    rule = ShapeRule(limit=limit, share=share, size=middle, decay=decay, description=description)
    return (2 * misfit if free else misfit), rule
