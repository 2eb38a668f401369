"""Predictions of held-out budgets: how far off N* and the loss were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.backtest_scores import FoldScore

_LOOKS = (("blue", "o"), ("green", "s"), ("orange", "^"), ("violet", "v"), ("ink", "D"), ("muted", "P"))


def backtest_figure(folds: Sequence[FoldScore]) -> Figure:
    """Error of N* in percent and of its loss in nats against the held-out budget, one mark per method.

    Args:
        folds: Scores with `params_ratio` and `loss_error`.
    """
    methods = list(dict.fromkeys(fold.method for fold in folds))
    targets = [fold.target for fold in folds]
    with styled():
        figure, grid = new_figure(1, 2, height=2.7)
        left, right = grid[0]
        for method, (colour, marker) in zip(methods, _LOOKS, strict=False):
            mine = [fold for fold in folds if fold.method == method]
            flops = [fold.target for fold in mine]
            look: dict[str, Any] = {"marker": marker, "ls": "", "ms": 5.5, "color": COLOURS[colour], "label": method}
            left.plot(flops, [100 * ((fold.params_ratio or np.nan) - 1) for fold in mine], **look)
            right.plot(flops, [fold.loss_error or 0.0 for fold in mine], **look)
        for axes, label in ((left, "N* predicted, % off"), (right, "its loss, nats off")):
            axes.axhline(0, color=COLOURS["ink"], lw=0.8)
            log_scale(axes, "x", targets, notation.flops, most=3)
            span = 1.15 * float(np.abs(axes.get_ylim()).max())
            axes.set(xlabel="held-out compute C, FLOPs", title=label, ylim=(-span, span))
        legend_below(figure, left)
    return figure
