"""Change of activations and logits against width, under two parametrisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("blue", "orange", "green", "violet")


def coordinates_figure(
    widths: Sequence[int], changes: Mapping[str, Mapping[str, Sequence[float]]], *, judged: Sequence[str]
) -> Figure:
    """One panel for each parametrisation, on one scale.

    Args:
        widths: Widths.
        changes: Root mean square change at every width, by parametrisation and quantity.
        judged: Quantities that the verdict rests on; the others are drawn thin and grey.
    """
    with styled():
        figure, rows = new_figure(1, len(changes), height=3.4, sharey=True)
        for panel, (kind, quantities) in zip(rows[0], changes.items(), strict=True):
            for name, values in quantities.items():
                if name not in judged:
                    panel.plot(widths, values, "-", color=COLOURS["muted"], linewidth=0.7)
            for name, colour in zip(judged, _COLOURS, strict=False):
                panel.plot(widths, quantities[name], "o-", color=COLOURS[colour], markersize=4, label=name)
            panel.set_title(kind, loc="left")
            log_scale(panel, "x", widths, notation.count)
            panel.set_xlabel("width")
        rows[0][0].plot([], [], "-", color=COLOURS["muted"], linewidth=0.7, label="other activations")
        every = [value for quantities in changes.values() for values in quantities.values() for value in values]
        log_scale(rows[0][0], "y", every, notation.number)
        rows[0][0].set_ylabel("change since step 0 (root mean square)")
        legend_below(figure, rows[0][0])
        return figure
