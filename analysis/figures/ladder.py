"""What was predicted of larger runs, and what they came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKS = (("law", "blue", 0.97), ("power law", "orange", 1.0), ("local slope", "green", 1.03))
"""Method, colour, and the factor by which its bars are moved aside."""


def ladder_figure(table: pd.DataFrame) -> Figure:
    """Predicted losses with their intervals and observed ones, against size."""
    with styled():
        figure, axes = new_figure(height=3.4)
        panel = axes[0][0]
        params = table["params"].to_numpy(np.float64)
        for method, colour, aside in _LOOKS:
            panel.errorbar(
                params * aside, table[method], table[f"{method} ±"], fmt="o", markersize=3, capsize=2,
                color=COLOURS[colour], label=f"{method}, predicted",
            )  # fmt: skip
        panel.plot(params, table["loss"], "*", color=COLOURS["ink"], markersize=9, label="trained afterwards")
        log_scale(panel, "x", [*params * 0.96, *params * 1.04], notation.count)
        panel.set(xlabel="parameters N", ylabel="loss (nats per token)")
        legend_below(figure, panel, columns=2)
        return figure
