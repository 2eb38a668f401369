"""Loss against learning rate at every width, and the best rates against width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis import notation
from analysis.figures.theme import COLOURS, legend_below, log_scale, new_figure, step_colour, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.transfer import BestRate, RateTransfer

Array = NDArray[np.float64]

_SETTING_COLOURS = ("blue", "orange", "green", "violet")


def valleys_figure(transfers: Sequence[RateTransfer]) -> Figure:
    """Loss above each point's minimum against rate, one panel for each setting; stars mark the fitted minima."""
    with styled():
        figure, axes = new_figure(len(transfers), 1, height=2.6 * len(transfers) + 0.6, sharex=True)
        widths = sorted({best.width for transfer in transfers for best in transfer.rates})
        for (panel,), transfer in zip(axes, transfers, strict=True):
            for best in transfer.rates:
                colour = step_colour(widths.index(best.width), len(widths))
                rates, losses = _tried(best)
                panel.plot(rates, losses - best.point.loss, "o-", color=colour, markersize=3, linewidth=0.9)
                if best.log2_se is not None:
                    panel.plot([best.rate], [0.0], "*", color=colour, markersize=10)
            _label_panel(panel, transfer, len(transfers))
        for width in widths:
            label = f"width {notation.count(width)}"
            axes[0][0].plot([], [], "o-", color=step_colour(widths.index(width), len(widths)), label=label)
        shown = [rate for transfer in transfers for best in transfer.rates for rate in _tried(best)[0]]
        log_scale(axes[-1][0], "x", shown, notation.number)
        axes[-1][0].set_xlabel("peak learning rate at base width")
        legend_below(figure, axes[0][0])
        return figure


def _label_panel(panel: Axes, transfer: RateTransfer, panels: int) -> None:
    highest = max(float(best.point.tried.loc[best.point.tried["near"], "loss"].max()) - best.point.loss
                  for best in transfer.rates)  # fmt: skip
    panel.set_ylim(-0.05 * highest, 1.6 * highest)
    panel.set_ylabel("loss above minimum (nats)")
    if panels > 1:
        panel.set_title(transfer.setting or "", loc="left")


def best_rates_figure(transfers: Sequence[RateTransfer]) -> Figure:
    """Best rate against width with bars of one standard error, and the fitted lines."""
    with styled():
        figure, axes = new_figure(height=3.2)
        panel = axes[0][0]
        for transfer, colour in zip(transfers, _SETTING_COLOURS * len(transfers), strict=False):
            known = [best for best in transfer.rates if best.log2_se is not None]
            widths = np.array([best.width for best in known])
            rates = np.array([best.rate for best in known])
            factors = 2.0 ** np.array([best.log2_se or 0.0 for best in known])
            bars = np.stack([rates - rates / factors, rates * factors - rates])
            name = transfer.setting or "best rate"
            panel.errorbar(widths, rates, bars, fmt="o", color=COLOURS[colour], markersize=4, capsize=2, label=name)
            if transfer.width is not None:
                panel.plot(*_fitted_line(transfer.fitted, transfer.width.value), color=COLOURS[colour], linewidth=1)
        every = [best for transfer in transfers for best in transfer.rates]
        log_scale(panel, "x", [best.width for best in every], notation.count)
        ends = [best.rate * 2.0 ** (side * (best.log2_se or 0.0)) for best in every for side in (-1, 1)]
        log_scale(panel, "y", ends, notation.number)
        panel.set(xlabel="width", ylabel="best peak learning rate")
        legend_below(figure, panel)
        return figure


def _fitted_line(fitted: Sequence[BestRate], slope: float) -> tuple[Array, Array]:
    """The line of that slope through the weighted mean of the rates that it was fitted to, over their widths."""
    weights = np.array([best.log2_se or np.inf for best in fitted]) ** -2.0
    widths, rates = (np.log([getattr(best, name) for best in fitted]) for name in ("width", "rate"))
    height = np.average(rates - slope * widths, weights=weights)
    span = np.linspace(widths.min(), widths.max(), 20)
    return np.exp(span), np.exp(height + slope * span)


def _tried(best: BestRate) -> tuple[Array, Array]:
    name = next(iter(best.point.knobs))
    table = best.point.tried.groupby(name)["loss"].min()
    return table.index.to_numpy(dtype=np.float64), table.to_numpy(dtype=np.float64)
