"""The section on held-out truth: larger budgets predicted from smaller ones."""

from __future__ import annotations

import numpy as np

from analysis import notation
from analysis.backtest_scores import Backtest, FoldScore
from analysis.figures.backtest import backtest_figure
from analysis.report.blocks import Block, Exhibit, Section, Text, capitalized, grid, missing
from analysis.report.outcome import Failed
from analysis.report.summary import Summary


def backtest_section(summary: Summary) -> Section:
    """Scores of every fold, and the figure of predicted against observed optima."""
    result = summary.backtest
    if isinstance(result, Failed):
        return Section(name="backtest", title="Backtest", blocks=(missing("No backtest", result),))
    lead = (
        "Each budget from the third on is predicted by laws that were fitted on the smaller ones alone; nothing here has seen "
        f"what it predicts. {capitalized(result.summary)}."
    )
    blocks: list[Block] = [Text(text=lead), *([_exhibit(result)] if _scored(result) else [])]
    failures = tuple(
        f"{method} at {notation.flops(target)} FLOPs: {reason}" for (method, target), reason in result.failures.items()
    )
    if failures:
        blocks.append(Text(kind="list", items=failures))
    return Section(name="backtest", title="Backtest", blocks=tuple(blocks))


def _scored(result: Backtest) -> list[FoldScore]:
    return [fold for fold in result.folds if fold.params_ratio is not None and fold.loss_error is not None]


def _exhibit(result: Backtest) -> Exhibit:
    rows = [
        (
            fold.method,
            notation.flops(fold.target),
            f"{len(fold.fitted_on)}",
            "" if fold.params_ratio is None else notation.percent(fold.params_ratio - 1, signed=True),
            _yes(fold.params_covered),
            "" if fold.loss_error is None else f"{fold.loss_error:+.4f}",
            _yes(fold.loss_covered),
            "" if fold.rmse is None else f"{fold.rmse:.4f}",
            "" if fold.covered is None else f"{fold.covered:.0%} of {fold.points}",
        )
        for fold in result.folds
    ]
    header = (
        "method", "budget", "fitted on", "N* off by", "inside", "loss of N* off by", "inside", "error of all points",
        f"inside {result.level:.0%}",
    )  # fmt: skip
    scored = _scored(result)
    worst = max(abs(np.log(fold.params_ratio or 1.0)) for fold in scored)
    return Exhibit(
        name="backtest",
        title="Predicted against observed optima of held-out budgets",
        description=f"{len(scored)} predictions; N* was off by a factor {np.exp(worst):.2f} at most.",
        draw=lambda: backtest_figure(scored),
        data=grid("Backtest; losses in nats per token", header, rows),
    )


def _yes(claim: bool | None) -> str:
    return "" if claim is None else ("yes" if claim else "no")
