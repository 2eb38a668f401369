"""What the terminal shows when a sweep has ended."""

from __future__ import annotations

from analysis import notation
from analysis.fitting.optimum import Optimum
from analysis.reading import Source
from analysis.report.experiments import experiment_sections
from analysis.report.headline import Headline
from analysis.report.outcome import Failed
from analysis.report.summary import Summary, of_setting, summarize
from analysis.table import Runs


def ending_lines(source: Source | Runs | Summary) -> list[str]:
    """What the sweep was to answer, N*(C) with its interval, predictions, the backtest, and what weakens the fit most.

    Args:
        source: A source of runs, or the summary that its report was written from.
    """
    summary = source if isinstance(source, Summary) else summarize(source)
    return [*_answers(summary), *_law(summary), backtest_text(summary), *_weaknesses(summary)]


def _answers(summary: Summary) -> list[str]:
    """What the sweep says to a question of its own."""
    lines: list[str] = []
    for section in experiment_sections(summary):
        if section.answers:
            lines += [f"{section.title}:", *(f"  {answer}" for answer in section.answers)]
    return lines


def prediction_text(best: Optimum) -> str:
    """N*, D* and L* of one budget with their intervals, in one line."""
    spans = best.intervals
    loss = (
        ""
        if best.loss is None
        else f", loss {notation.loss(best.loss)} ({notation.interval(spans.get('loss'), notation.loss)})"
    )
    return (
        f"N* {notation.count(best.params)} ({notation.interval(spans.get('params'), notation.count)}), "
        f"D* {notation.count(best.tokens)} ({notation.interval(spans.get('tokens'), notation.count)}){loss}"
    )


def _law(summary: Summary) -> list[str]:
    headline = summary.headline
    if isinstance(headline, Failed):
        return [f"no law yet: {headline.reason}"]
    lines = [f"{headline.law}   {headline.exponent_text}", f"  {headline.basis}{of_setting(summary)}"]
    return lines + [f"  {factor_text(headline, best)}: {prediction_text(best)}" for best in headline.predictions]


def factor_text(headline: Headline, best: Optimum) -> str:
    """At 3e+12 FLOPs (10x)."""
    return f"at {notation.flops(best.flops)} FLOPs ({best.flops / headline.fitted_to:.0f}x)"


def backtest_text(summary: Summary) -> str:
    """What happened when the larger budgets were predicted from the smaller ones."""
    result = summary.backtest
    return f"backtest: {result.reason if isinstance(result, Failed) else result.summary}"


def _weaknesses(summary: Summary) -> list[str]:
    found = summary.weaknesses
    if not found:
        return ["none of the checks found anything that weakens this fit"]
    heading = "what weakens this fit most:" if len(found) > 1 else "what weakens this fit:"
    return [heading, *(f"  {i}. {warning.message}" for i, warning in enumerate(found, 1))]
