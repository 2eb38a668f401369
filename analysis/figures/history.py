"""How the interval of a sampler's target shrank as FLOPs were spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


def history_figure(
    flops: Array, value: Array, low: Array, high: Array, *, label: str, write: Callable[[float], str], log: bool
) -> Figure:
    """The target with its interval against FLOPs reserved.

    Args:
        flops: FLOPs reserved before each proposal, shape (n,).
        value: The target as it was known then, shape (n,).
        low: Lower ends, shape (n,).
        high: Upper ends, shape (n,).
        label: Of the target.
        write: Notation of the target.
        log: Whether the target is shown on a logarithmic axis.
    """
    with styled():
        figure, [[axes]] = new_figure(height=3.0)
        axes.fill_between(flops, low, high, color=COLOURS["blue"], alpha=0.18, lw=0, label="interval")
        axes.plot(flops, value, color=COLOURS["blue"], marker="o", ms=3, label=label)
        log_scale(axes, "x", flops, notation.flops)
        if log:
            log_scale(axes, "y", np.concatenate([low, high]), write)
        axes.set(xlabel="FLOPs reserved", ylabel=label)
        legend_below(figure, axes)
    return figure
