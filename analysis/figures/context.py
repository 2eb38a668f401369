"""Loss by the number of tokens that a prediction saw, one line for each setting, and the differences below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, step_colour, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.positions import ByContext


def context_figure(made: ByContext) -> Figure:
    """Losses above, differences from the baseline with two standard errors below."""
    with styled():
        figure, [[losses], [differences]] = new_figure(2, 1, height=4.6, sharex=True)
        middle = np.sqrt(np.array(made.first, dtype=np.float64) * np.array(made.last))
        colours = [step_colour(i, len(made.settings)) for i in range(len(made.settings))]
        for one, colour in zip(made.settings, colours, strict=True):
            losses.plot(middle, one.loss, "o-", color=colour, markersize=3, label=one.setting)
        for crossover, colour in zip(made.crossovers, colours[1:], strict=True):
            bars = None if crossover.se is None else 2 * crossover.se
            differences.errorbar(middle, crossover.difference, bars, fmt="o-", color=colour, markersize=3, capsize=2)
        differences.axhline(0, color=COLOURS["muted"], linewidth=0.8)
        log_scale(differences, "x", middle, notation.count)
        losses.set(ylabel="loss (nats per token)")
        differences.set(xlabel="tokens seen before the prediction", ylabel=f"less {made.settings[0].setting} (nats)")
        legend_below(figure, losses)
        return figure
