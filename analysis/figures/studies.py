"""Figures of studies with a question of their own: tokens to a loss against batch size, and loss against epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, step_colour, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.batch_sizes import Reached
    from analysis.repeats import Repeated


def batches_figure(reached: Sequence[Reached]) -> Figure:
    """Tokens to each loss against batch size, with D = E_min + S_min B through them."""
    with styled():
        figure, axes = new_figure(height=3.4)
        panel = axes[0][0]
        for i, one in enumerate(reached):
            colour = step_colour(i, len(reached))
            panel.plot(one.batch, one.tokens, "o", color=colour, markersize=4, label=f"to loss {one.loss:.3f}")
            if one.critical is not None:
                span = np.geomspace(one.batch.min(), one.batch.max(), 60)
                panel.plot(span, one.critical.steps(span) * span, color=colour, linewidth=1)
        log_scale(panel, "x", np.concatenate([one.batch for one in reached]), notation.count)
        log_scale(panel, "y", np.concatenate([one.tokens for one in reached]), notation.count)
        panel.set(xlabel="batch (tokens)", ylabel="training tokens to the loss")
        legend_below(figure, panel)
        return figure


def repeats_figure(repeated: Sequence[Repeated]) -> Figure:
    """Loss against epochs at the end and at the best checkpoint, beside fresh text of the same length."""
    with styled():
        figure, axes = new_figure(len(repeated), 1, height=2.5 * len(repeated) + 0.6, sharex=True)
        for (panel,), one in zip(axes, repeated, strict=True):
            panel.plot(one.epochs, one.loss, "o-", color=COLOURS["orange"], markersize=4, label="at the end")
            panel.plot(one.epochs, one.best, "^--", color=COLOURS["violet"], markersize=4, label="best checkpoint")
            panel.plot(one.epochs, one.fresh, "s:", color=COLOURS["blue"], markersize=3, label="fresh text, same D")
            panel.set_title(f"{notation.count(one.unique_tokens)} distinct tokens", loc="left")
            panel.set_ylabel("loss (nats per token)")
        log_scale(axes[-1][0], "x", np.concatenate([one.epochs for one in repeated]), notation.number)
        axes[-1][0].set_xlabel("epochs")
        legend_below(figure, axes[0][0])
        return figure
